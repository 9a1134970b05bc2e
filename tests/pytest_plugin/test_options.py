"""The options, as a user meets them: help, ini keys, precedence, tiers, selection, errors."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from cnnperf.record.anonymous import anonymous_name
from cnnperf.record.loading import load_record
from cnnperf.run.settings import OPTIONS
from tests.commands import run_cnnperf
from tests.fake_python import fake_python
from tests.pytest_plugin.project import INI, ROOT, Project

pytest.importorskip("torch", reason="training needs the extra `train`")

EXIT_USAGE = pytest.ExitCode.USAGE_ERROR


def test_passing_run_has_header_progress_table_and_record(tmp_path: Path) -> None:
    """Header, progress lines, two repeats with their own seeds, table, record, no journal left."""
    project = Project(tmp_path, measures_peak=True)
    done = project.run("-k", "good", "--cnnperf-tier=smoke", "--cnnperf-repeats=2",
                       "--cnnperf-seed=7", "--cnnperf-profile=traces")  # fmt: skip
    assert done.returncode == 0, done.stdout
    text = done.stdout
    assert "cnnperf: cpu:" in text
    assert "tier smoke (asked for); 1 case, 2 trainings, roughly" in text
    assert "[1/1] good-tiny-8-two-eager, training 2/2: epoch 2/2: loss" in text
    assert "matmul peak" in text
    assert str(project.json_path) in text
    assert project.journals() == []
    record = project.record()
    (case,) = record.cases
    assert [repeat.seed for repeat in case.repeats] == [7, 8]
    assert not record.interrupted
    assert not case.shortened
    assert record.environment.hardware.matmul_flops_per_second
    (benchmark,) = project.content()["benchmarks"]
    assert benchmark["extra_info"]["id"] == "good-tiny-8-two-eager"
    assert benchmark["extra_info"]["test_accuracy"] == case.median("test_accuracy")
    assert benchmark["stats"]["rounds"] == 2
    assert "hz_actual_friendly" not in project.content()["machine_info"]["cpu"]
    traces = project.folder / "traces"
    assert f"traces: {traces} (tensorboard --logdir {traces}, or open one at" in text
    profiles = [repeat.profile for repeat in case.repeats if repeat.profile is not None]
    assert {profile.trace for profile in profiles} == {path.name for path in traces.iterdir()}
    assert len(profiles) == 2


def test_shortened_runs_are_marked(project: Project) -> None:
    """Steps leave accuracy out, and may go beyond an epoch: six are one of four and two more."""
    done = project.run("-k", "good", "--cnnperf-tier=smoke", "--cnnperf-limit-steps=6", "-q")
    assert done.returncode == 0, done.stdout
    (case,) = project.record().cases
    assert case.shortened
    (repeat,) = case.repeats
    assert repeat.steps == 6
    assert len(repeat.epochs) == 2
    assert repeat.metrics.test_accuracy is None
    assert "(shortened)" in done.stdout
    assert "starting" not in done.stdout  # -q: no progress


def test_anonymous_run_names_neither_host_nor_home(tmp_path: Path) -> None:
    """In record, journal and pytest-benchmark's own part, also where a traceback has a path."""
    project = Project(tmp_path)
    done = project.run("-k", "raising", "--cnnperf-tier=smoke", "--cnnperf-anonymous",
                       HOME=str(tmp_path))  # fmt: skip
    assert done.returncode == 1, done.stdout
    host = anonymous_name(platform.node())
    assert project.content()["machine_info"]["node"] == host
    assert project.record().environment.hardware.host == host
    (journal,) = project.journals()
    for text in (project.json_path.read_text(), journal.read_text()):
        assert str(tmp_path) not in text
        assert "~/tiny_nets.py" in text
    public = tmp_path / "public.json"
    exported = run_cnnperf("export", str(project.json_path), "--to=anonymous", "-o", str(public))
    assert exported.returncode == 0, exported.stderr
    assert load_record(public) == project.record()


def test_an_unknown_optimisation_is_refused_before_anything_starts(project: Project) -> None:
    """It would fail every case of `fast`, with the exit code of a failed training."""
    done = project.run("-k", "good and two", CNNPERF_FAST_OFF="norms")
    assert done.returncode == 4, done.stdout  # pytest's code for bad usage
    assert (
        "CNNPERF_FAST_OFF: there is no optimisation 'norms' (did you mean 'norm'?)" in done.stdout
    )
    assert "trained in" not in done.stdout
    assert not project.journals()


def test_collecting_names_the_cases_and_starts_nothing(project: Project) -> None:
    """Test ids are case ids; no header, no worker, no file."""
    done = project.run("--collect-only", "-q", "--cnnperf-tier=smoke")
    assert done.returncode == 0
    assert "benchmarks/test_train.py::test_train[good-tiny-8-two-eager]" in done.stdout
    assert "test_train[modified_vgg-digits-28-brief-eager]" in done.stdout
    assert "matmul" not in done.stdout
    assert not project.json_path.parent.exists()


def test_every_option_is_in_the_help_and_the_ini_help(project: Project) -> None:
    """With the text that describes it."""
    text = " ".join(project.run("--help").stdout.split())
    for option in OPTIONS:
        assert option.flag in text
        assert option.key in text
        assert " ".join(option.help.split())[:30] in text


def test_tier_of_the_command_line_wins_over_the_ini_file(tmp_path: Path) -> None:
    """The ini file's values hold where the command line says nothing."""
    project = Project(tmp_path, INI + "cnnperf_tier = full\ncnnperf_repeats = 2\n")
    done = project.run("--collect-only", "-q")
    assert "good-tiny-8-long-eager" in done.stdout
    done = project.run("--collect-only", "-q", "--cnnperf-tier=smoke")
    assert "good-tiny-8-long-eager" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--cnnperf-tier=big"], "expected one of auto, smoke, standard, full, got 'big'"),
        (["--cnnperf-repeats=0"], "expected a whole number, 1 or more, got '0'"),
        (["--cnnperf-timeout=-3"], "expected a number of seconds above 0, got '-3'"),
        (["--cnnperf-timeout=nan"], "expected a number of seconds above 0, got 'nan'"),
        (["--cnnperf-device=tpu"], "expected one of auto, cpu, cuda, mps, xpu"),
        (["--cnnperf-resume=nowhere.jsonl", "-k", "good"], "nowhere.jsonl cannot be read"),
        (["--cnnperf-python=/no/python", "-k", "good"], "/no/python cannot be started"),
    ],
)
def test_bad_option_gets_a_message_and_the_usage_exit_code(
    project: Project, arguments: list[str], words: str
) -> None:
    """What, and what was expected; never a traceback."""
    done = project.run(*arguments)
    assert done.returncode == EXIT_USAGE, done.stdout
    assert words in " ".join(done.stdout.split())
    assert "Traceback" not in done.stdout
    assert project.journals() == []


def test_bad_ini_value_gets_a_message_with_its_key(tmp_path: Path) -> None:
    """The ini file is named too."""
    done = Project(tmp_path, INI + "cnnperf_seed = many\n").run()
    assert done.returncode == EXIT_USAGE
    assert "cnnperf_seed in" in done.stdout
    assert "settings.py" not in done.stdout
    assert "got 'many'" in done.stdout
    assert "Traceback" not in done.stdout


def test_module_that_cannot_be_imported_is_named(tmp_path: Path) -> None:
    """The ini key and the module."""
    done = Project(tmp_path, "[pytest]\ncnnperf_modules = no_such_module\n").run()
    assert done.returncode == EXIT_USAGE
    assert "plugin.py" not in done.stdout
    assert "cnnperf_modules: no_such_module cannot be imported" in done.stdout
    assert "Traceback" not in done.stdout


def test_missing_device_is_refused(project: Project) -> None:
    """Before anything is trained, with what is possible."""
    import torch

    missing = "cuda" if not torch.cuda.is_available() else "xpu"
    done = project.run("-k", "good", f"--cnnperf-device={missing}", "--cnnperf-tier=smoke")
    assert done.returncode == EXIT_USAGE
    assert f"device {missing} cannot be used" in done.stdout
    assert "possible:" in done.stdout
    assert project.journals() == []


def test_unwritable_folder_is_found_at_the_start(project: Project) -> None:
    """A file stands where the folder should be."""
    (project.folder / "reports").write_text("a file")
    done = project.run("-k", "good", "--cnnperf-tier=smoke")
    assert done.returncode == EXIT_USAGE
    assert "cannot be written" in done.stdout
    assert "--benchmark-json" in done.stdout
    assert "training" not in done.stdout


def test_unwritable_record_is_found_at_the_start(project: Project) -> None:
    """A folder stands where the file should be; a record that is there stays as it is."""
    project.json_path.mkdir(parents=True)
    done = project.run("-k", "good", "--cnnperf-tier=smoke")
    assert done.returncode == EXIT_USAGE, done.stdout
    assert f"{project.json_path} cannot be written: Is a directory" in done.stdout
    assert "Traceback" not in done.stdout


def test_saved_run_compares_without_a_warning(project: Project) -> None:
    """pytest-benchmark compares machine_info to the letter; ours has nothing that jitters."""
    arguments = ("-k", "good", "--cnnperf-tier=smoke", "--cnnperf-limit-steps=2")
    saved = project.run(*arguments, "--benchmark-autosave")
    assert saved.returncode == 0, saved.stdout
    compared = project.run(*arguments, "--benchmark-compare")
    assert compared.returncode == 0, compared.stdout
    assert "Comparing against benchmarks from" in compared.stdout
    assert "machine_info is different" not in compared.stdout


def test_cases_without_data_are_skipped_with_advice(project: Project) -> None:
    """They are in the record as skipped, and the advice is a command that can be pasted."""
    python = f"--cnnperf-python={fake_python(project.folder, 'python')}"
    done = project.run(
        "-k", "mnist and modified and eager", "--cnnperf-tier=standard", "-rs", python
    )
    assert done.returncode == 0, done.stdout
    assert "2 skipped" in done.stdout
    assert f"cnnperf data mnist --data-dir {project.folder / 'data'}" in (
        " ".join(done.stdout.split())
    )
    assert {case.outcome for case in project.record().cases} == {"skipped"}


def test_cases_without_data_fail_where_data_are_required(project: Project) -> None:
    """For CI, where a skipped case would go unnoticed."""
    python = f"--cnnperf-python={fake_python(project.folder, 'python')}"
    done = project.run("-k", "modified_vgg-mnist-28-eager", "--cnnperf-tier=standard",
                       "--cnnperf-require-data", python)  # fmt: skip
    assert done.returncode == 1
    (case,) = project.record().cases
    assert case.outcome == "failed"
    assert case.error is not None
    assert case.error.kind == "data"


def test_pytest_benchmarks_own_switches_work(project: Project, tmp_path: Path) -> None:
    """--benchmark-skip trains nothing; --benchmark-disable trains once and times nothing."""
    good = ("-k", "good", "--cnnperf-tier=smoke", f"--cnnperf-python={fake_python(tmp_path, 'py')}")
    skipped = project.run(*good, "--benchmark-skip")
    assert "1 skipped" in skipped.stdout
    assert "matmul" not in skipped.stdout
    disabled = project.run(*good, "--benchmark-disable", "--cnnperf-repeats=2")
    assert disabled.returncode == 0, disabled.stdout
    assert "1 passed" in disabled.stdout
    assert "1 case, 1 training" in disabled.stdout
    assert "2 trainings" not in disabled.stdout
    assert "interrupted" not in disabled.stdout
    assert "record:" not in disabled.stdout
    assert not project.json_path.exists()
    assert project.journals() == []


def test_option_x_stops_after_the_first_failure(project: Project, tmp_path: Path) -> None:
    """And the record says that it is not whole."""
    python = fake_python(tmp_path, "python", failing=("raising-eager", "leaving-eager"))
    done = project.run(
        "-x", "-k", "raising or leaving", "--cnnperf-tier=smoke", f"--cnnperf-python={python}"
    )
    assert done.returncode == 1
    assert "1 failed" in done.stdout
    assert project.record().interrupted


def test_run_without_cases_prints_nothing_of_the_plugin(tmp_path: Path) -> None:
    """A run without cases prints not a word of cnnperf and imports no torch."""
    import subprocess
    import sys

    (tmp_path / "test_other.py").write_text(
        "import sys\n"
        "def test_other(benchmark):\n"
        "    benchmark(lambda: None)\n"
        "    assert 'torch' not in sys.modules and 'pynvml' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--benchmark-json=out.json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "cnnperf" not in done.stdout
    assert "cnnperf" not in (tmp_path / "out.json").read_text()


def test_benchmarks_have_the_cases_of_each_tier() -> None:
    """Collected from the real benchmarks: smoke needs no download, standard is the report."""
    import subprocess
    import sys

    def ids(tier: str) -> set[str]:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "benchmarks", "--collect-only", "-q",
             f"--cnnperf-tier={tier}"],
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return {line.split("[")[1].rstrip("]") for line in done.stdout.splitlines() if "[" in line}

    assert all("-digits-" in case_id for case_id in ids("smoke"))
    assert {
        "vgg16-mnist-224-eager",
        "resnet34-mnist-224-eager",
        "modified_vgg-mnist-28-eager",
        "modified_resnet-mnist-28-eager",
        "modified_vgg-cifar10-28-eager",
    } <= ids("standard")
    assert ids("standard") | ids("smoke") <= ids("full")
