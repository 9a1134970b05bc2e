"""`--cnnperf-baseline`: runs that are held to an earlier record.

The trainings are those of `tests/fake_python.py`, all else is real.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cnnperf.record.schema import Record
from tests.examples import write_record
from tests.fake_python import fake_python
from tests.pytest_plugin.project import Project

pytest_plugins = "pytester"

CASE = "good-tiny-8-two-eager"


@pytest.fixture
def select(project: Project) -> tuple[str, ...]:
    """One case, trained by an interpreter that only says so."""
    python = fake_python(project.folder, "python", noise={"good-eager": 0.01})
    return ("-k", CASE, "--cnnperf-tier=smoke", f"--cnnperf-python={python}")


def _faster(record: Record, factor: float, path: Path) -> Path:
    """A baseline made of a run: the same trainings in less time."""
    body = json.loads(record.model_dump_json())
    for case in body["cases"]:
        for repeat in case["repeats"]:
            repeat["metrics"]["train_seconds"] /= factor
            repeat["metrics"]["images_per_second"] *= factor
    return write_record(path, body)


def test_run_slower_than_its_baseline_fails(project: Project, select: tuple[str, ...]) -> None:
    """With the verdicts below its table, its record written, and no traceback."""
    thrice = (*select, "--cnnperf-repeats=3")
    assert project.run(*thrice).returncode == 0
    baseline = _faster(project.record(), 2, project.folder / "base.json")
    project.json_path.unlink()
    done = project.run(*thrice, f"--cnnperf-baseline={baseline}")
    assert done.returncode == 1, done.stdout
    assert "1 passed" in done.stdout
    table, verdicts = done.stdout.split("cnnperf: verdicts")
    assert f"record: {project.json_path}" in table
    assert f"regression in 1 of 1 case: {CASE} (slower)" in verdicts
    assert "Traceback" not in done.stdout
    assert [case.outcome for case in project.record().cases] == ["passed"]


def test_baseline_of_another_torch_is_compared_with_across_software(
    project: Project, select: tuple[str, ...]
) -> None:
    """By the ini key or the option; tests/pytest_plugin/test_gate.py has what is said without."""
    assert project.run(*select).returncode == 0
    body = json.loads(project.record().model_dump_json())
    body["environment"]["software"]["torch"] = "2.0.0"
    baseline = f"--cnnperf-baseline={write_record(project.folder / 'base.json', body)}"
    wrong = project.run(*select, baseline, "--cnnperf-across=softwear")
    assert wrong.returncode == pytest.ExitCode.USAGE_ERROR
    assert "expected one of hardware, software, got 'softwear'" in wrong.stdout
    with (project.folder / "pytest.ini").open("a") as ini:
        ini.write("cnnperf_across = software\n")
    asked = project.run(*select, baseline)
    assert asked.returncode == 0, asked.stdout
    assert f"cnnperf: baseline {project.folder / 'base.json'}, across software" in asked.stdout
    assert "2.0.0" in asked.stdout.split("cnnperf: verdicts")[1]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"cnnperf": {"schema_version": 1', "base.json"),
        ('{"benchmarks": []}', "base.json"),
        (None, "base.json"),
    ],
)
def test_bad_baseline_ends_the_run_before_training(
    project: Project, select: tuple[str, ...], content: str | None, told: str
) -> None:
    """In one sentence, with pytest's exit code for bad usage."""
    path = project.folder / "base.json"
    if content is not None:
        path.write_text(content)
    done = project.run(*select, f"--cnnperf-baseline={path}")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    (line,) = [line for line in done.stdout.splitlines() if "cnnperf: " in line]
    assert told in line
    assert "Traceback" not in done.stdout
    assert not project.json_path.exists()


# --- a gate that judges nothing -------------------------------------------------------------------

NO_VERDICT = "this run could not be compared with the baseline"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--benchmark-disable",), "with --benchmark-disable nothing is timed"),
        (("--benchmark-skip",), "with --benchmark-skip nothing is trained"),
        (("--setup-plan",), "with --setup-plan nothing is trained"),
        (("-k", "nothing_like_this"), "no test of this run trains a case"),
    ],
)
def test_a_run_that_is_to_be_judged_and_cannot_be_fails(
    project: Project, arguments: tuple[str, ...], reason: str
) -> None:
    """It says why, before anything is trained; also where the options are in addopts."""
    for variables in ({}, {"PYTEST_ADDOPTS": " ".join(arguments)}):
        given = () if variables else arguments
        done = project.run("--cnnperf-baseline=base.json", *given, **variables)
        assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stdout
        text = " ".join(done.stdout.split())
        assert NO_VERDICT in text
        assert reason in text
        if "-k" in arguments:
            assert "`cnnperf list` shows all ids" in text


def test_a_baseline_of_the_ini_file_is_not_passed_by_a_tier_without_a_case(
    project: Project,
) -> None:
    """All tests would be skipped, with exit code 0."""
    with (project.folder / "pytest.ini").open("a") as ini:
        ini.write("cnnperf_baseline = base.json\n")
    for path in (project.folder / "benchmarks").glob("*.py"):
        path.unlink()
    (project.folder / "benchmarks" / "test_calm.py").write_text(
        "import pytest\n"
        "@pytest.mark.cnnperf(suite='infer')\n"
        "@pytest.mark.parametrize(('model', 'recipe'), [('calm', 'two')])\n"
        "def test_infer(cnnperf_case, cnnperf_train): ...\n"
    )
    done = project.run("--cnnperf-tier=smoke")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stdout
    assert "no test of this run trains a case" in " ".join(done.stdout.split())


def test_a_baseline_where_no_test_trains_a_case_fails(pytester: pytest.Pytester) -> None:
    """A mistyped folder must not pass; without a baseline on the command line nothing changes."""
    pytester.makepyfile("def test_nothing(): pass")
    result = pytester.runpytest("--cnnperf-baseline=/nonexistent.json")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert NO_VERDICT in str(result.stderr) + str(result.stdout)
    pytester.makeini("[pytest]\ncnnperf_baseline = base.json\n")
    assert pytester.runpytest().ret == 0
    assert pytester.runpytest("--collect-only", "--cnnperf-baseline=base.json").ret == 0


def test_a_terminal_without_unicode_gets_ascii(project: Project) -> None:
    """Header, progress and table of a run."""
    done = project.run("-k", "good and two", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stdout
    assert done.stdout.isascii()
    assert "\\u2" not in done.stdout
    assert "good-tiny-8-two-eager" in done.stdout


@pytest.mark.parametrize(
    ("broken", "rest"),
    [
        ("cnnperf.report.terminal.run.run_summary", "the record is "),
        ("cnnperf.record.schema.record_as_json", "has every finished training"),
    ],
)
def test_an_error_of_cnnperf_at_the_end_has_no_verdicts_code(
    project: Project, select: tuple[str, ...], broken: str, rest: str
) -> None:
    """Python would end with 1, as after a regression; the sentence says where the results are."""
    module, _, name = broken.rpartition(".")
    with (project.folder / "conftest.py").open("a") as conftest:
        conftest.write(
            f"\nimport {module} as broken\n"
            "def fail(*arguments, **options):\n    raise KeyError('oops')\n"
            f"broken.{name} = fail\n"
        )
    done = project.run(*select)
    assert done.returncode == pytest.ExitCode.INTERNAL_ERROR, done.stdout
    assert "cnnperf: internal error: KeyError: 'oops' (CNNPERF_TRACEBACK=1" in done.stdout
    assert rest in " ".join(done.stdout.split())
    assert "Traceback" not in done.stdout
    assert "Traceback" in project.run(*select, CNNPERF_TRACEBACK="1").stdout


def test_an_error_of_another_plugin_at_the_end_stays_what_it_is(
    project: Project, select: tuple[str, ...]
) -> None:
    """It is not called an error of cnnperf."""
    with (project.folder / "conftest.py").open("a") as conftest:
        conftest.write("\ndef pytest_sessionfinish():\n    raise KeyError('theirs')\n")
    done = project.run(*select)
    assert "KeyError: 'theirs'" in done.stdout
    assert "internal error" not in done.stdout
