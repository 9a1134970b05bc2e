"""`cnnperf history` as its users call it."""

from __future__ import annotations

import csv
import io
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cnnperf.compare.calibration import Calibration, CaseNoise, Noise
from cnnperf.compare.history.load import load_folder
from cnnperf.compare.history.series import find_series
from cnnperf.compare.thresholds import Thresholds
from cnnperf.report.terminal.history import history_summary
from cnnperf.report.terminal.run import render
from tests.commands import run_cnnperf, sentence_of
from tests.compare.comparisons import HOSTILE
from tests.compare.history.folders import CASE, case_with, write, write_history
from tests.examples import (
    CREATED,
    HIDE_TORCH,
    example_environment,
    example_record,
    plain_terminal,
    python_with,
)

LEVELS = [20.0] * 8 + [21.6] * 8


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    plain_terminal(monkeypatch)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A step of 8 % with another driver."""
    write_history(tmp_path / "records", LEVELS, changes={8: {"driver": "580.95"}})
    return tmp_path / "records"


def test_the_table_has_the_step_and_its_cause(folder: Path, tmp_path: Path) -> None:
    """On a machine without torch; a step is no failure."""
    env = python_with(HIDE_TORCH, tmp_path)
    done = run_cnnperf("history", str(folder), cwd=tmp_path, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert f"{CASE} on NVIDIA H200" in done.stdout
    row = next(line for line in lines if line.strip().startswith("train time"))
    assert "2026-01-02 to 2026-01-17" in row
    assert "driver — → 580.95" in row
    assert "between 007.json (070707070707) and 008.json (080808080808)" in " ".join(lines)
    assert lines[-1] == "16 records, 4 series, 2 steps (2 worse, 0 better)"


def test_a_narrow_terminal_gets_whole_columns(folder: Path, tmp_path: Path) -> None:
    """The last step has a line below the table, so that its column is what gives way."""
    loaded = load_folder(folder, ["train_seconds"])
    series = find_series(loaded.points, Thresholds())
    narrow, wide = (
        render(history_summary(loaded, series), width=width, color=False) for width in (80, 120)
    )
    assert narrow.splitlines()[1].rstrip().endswith("steps")
    assert "no room for last step" in narrow
    assert wide.splitlines()[1].rstrip().endswith("last step")
    for text in (narrow, wide):
        assert "driver — → 580.95" in " ".join(text.split())
    assert len(narrow.splitlines()) < 12


def test_change_within_the_noise_is_not_a_step(folder: Path, tmp_path: Path) -> None:
    """A step of 8 % where a training wavers by 4 %: three such deviations are 12.7 %."""
    noise = CaseNoise(
        metrics={"train_seconds": Noise(n=20, mean=20.0, sd=0.04, smallest_change=0.1)}
    )
    quiet = CaseNoise(
        metrics={"train_seconds": Noise(n=20, mean=20.0, sd=0.001, smallest_change=0.01)}
    )

    def run(case: CaseNoise, **hardware: Any) -> subprocess.CompletedProcess[str]:
        calibration = Calibration(
            created=CREATED,
            hardware=example_environment(**hardware).hardware,
            cases={CASE: case},
        )
        path = tmp_path / "gpu.calibration.json"
        path.write_text(calibration.model_dump_json())
        arguments = ("--metric=train_seconds", "--calibration", str(path))
        return run_cnnperf("history", str(folder), *arguments, cwd=tmp_path)

    quietly, loudly = run(quiet), run(noise)
    assert quietly.stdout.splitlines()[-1] == "16 records, 1 series, 1 step (1 worse, 0 better)"
    assert loudly.stdout.splitlines()[-1] == "16 records, 1 series, 0 steps"
    assert "thresholds include the noise of 2026-01-02 on NVIDIA H200" in loudly.stdout
    assert "is of another machine than the records" in sentence_of(run(noise, cpu_model="Xeon"))


def test_csv_has_every_point(folder: Path, tmp_path: Path) -> None:
    """With its level, and the ratio at the step."""
    written = write_history(folder, LEVELS, changes={8: {"driver": "580.95"}})
    arguments = ("history", str(folder), "--format=csv", "--metric=train_seconds")
    done = run_cnnperf(*arguments, cwd=tmp_path)
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [float(row["median"]) for row in rows] == [statistics.median(each) for each in written]
    assert [bool(row["step_ratio"]) for row in rows] == [number == 8 for number in range(16)]
    assert len({row["level"] for row in rows}) == 2


def test_json_has_series_with_points_and_steps(folder: Path, tmp_path: Path) -> None:
    """As other programs want them."""
    done = run_cnnperf("history", str(folder), "-f", "json", "--metric=train_seconds", cwd=tmp_path)
    (series,) = json.loads(done.stdout)["series"]
    (step,) = series["steps"]
    assert step["ratio"] == pytest.approx(1.08, abs=0.005)
    assert step["changes"][0] == {"field": "software.driver", "base": "—", "new": "580.95"}
    assert len(series["points"]) == 16
    (folder / "history.json").write_text(done.stdout)
    assert run_cnnperf("history", str(folder), cwd=tmp_path).stderr == ""


def test_cases_machines_and_metrics_are_chosen(folder: Path, tmp_path: Path) -> None:
    """Of several each."""
    slower = example_record(
        case_with([50.0], id="vgg16-mnist-224-eager"), environment=example_environment(gpu=None)
    )
    write(folder / "other.json", slower)

    def places(*arguments: str) -> set[tuple[str, str, str]]:
        done = run_cnnperf("history", str(folder), "-f", "json", *arguments, cwd=tmp_path)
        found = json.loads(done.stdout)["series"]
        return {(each["case"], each["machine"], each["metric"]) for each in found}

    cpu, gpu = "AMD EPYC 9654, 16 cores", "NVIDIA H200"
    vgg = ("vgg16-mnist-224-eager", cpu)
    assert places("-k", "not 28", "--metric=train_seconds") == {(*vgg, "train_seconds")}
    assert {place[:2] for place in places("--machine", "epyc")} == {vgg}
    assert {place[:2] for place in places("--case", "28")} == {(CASE, gpu)}
    two = ("--metric=peak_memory_bytes", "--metric=test_f1_macro")
    assert {place[2] for place in places(*two)} == {"peak_memory_bytes", "test_f1_macro"}
    shown = run_cnnperf("history", str(folder), "-k", "vgg16", cwd=tmp_path).stdout
    assert shown.splitlines()[-1].startswith("1 of 17 records, ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--metric", "train_second"), "did you mean 'train_seconds'"),
        (("-k", "nothing"), "matches none of the cases there: modified_vgg-mnist-28-eager"),
        (("-k", "("), "expected words of case ids"),
        (("--machine", "A100"), "matches no machine there: NVIDIA H200"),
        (("--metric", "energy_joules"), "choose others with --metric"),
        (("--config", "none.toml"), "none.toml cannot be read"),
    ],
)
def test_bad_usage_is_one_sentence(
    folder: Path, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    """With exit code 2, and what there is instead."""
    assert words in sentence_of(run_cnnperf("history", str(folder), *arguments, cwd=tmp_path))


def test_a_record_is_not_overwritten_by_a_page(folder: Path, tmp_path: Path) -> None:
    """A slip of the shell, as in `-o *.json`."""
    record = folder / "000.json"
    before = record.read_bytes()
    done = run_cnnperf("history", str(folder), "-o", str(record), cwd=tmp_path)
    assert "holds a record" in sentence_of(done)
    assert record.read_bytes() == before
    assert "is a folder" in sentence_of(run_cnnperf("history", str(folder), "-o", str(folder)))


def test_the_page_is_written_too(folder: Path, tmp_path: Path) -> None:
    """Beside what is on the terminal; once more over itself."""
    pytest.importorskip("cnnperf.report.html.page")
    page = tmp_path / "out" / "history.html"
    for _ in range(2):
        done = run_cnnperf("history", str(folder), "-o", str(page), cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == f"{page}: the page"
    assert "driver — → 580.95" in json.dumps(page.read_text(), ensure_ascii=False)


def test_missing_folder_is_bad_usage(tmp_path: Path) -> None:
    """Or one without a record."""
    assert "does not exist" in sentence_of(run_cnnperf("history", str(tmp_path / "x")))
    assert "holds no record" in sentence_of(run_cnnperf("history", str(tmp_path)))


def test_broken_files_are_listed_on_stderr(folder: Path, tmp_path: Path) -> None:
    """So that what goes to a file stays CSV."""
    (folder / "odd.json").write_text("{")
    done = run_cnnperf("history", str(folder), "-f", "csv", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stderr.startswith("cnnperf: skipped: ")
    assert done.stderr.count("\n") == 1
    assert "skipped" not in done.stdout


def test_hostile_text_is_escaped(tmp_path: Path) -> None:
    """In ids, names of GPUs and versions: no control character, no formula."""
    for number, text in enumerate(text for text in HOSTILE if text.strip()):
        gpu = example_environment().hardware.gpu
        assert gpu is not None
        environment = example_environment(gpu=gpu.model_copy(update={"name": text}))
        record = example_record(
            case_with([20.0 + number], id="=cmd()" + text), environment=environment
        )
        write(tmp_path / f"{number}.json", record)
    for form in ("table", "csv", "json"):
        done = run_cnnperf("history", str(tmp_path), "-f", form)
        assert done.returncode == 0, done.stderr
        assert not {"\x1b", "\x00", "\u202e"} & set(done.stdout)
        assert "Traceback" not in done.stderr
    rows = csv.DictReader(io.StringIO(run_cnnperf("history", str(tmp_path), "-f", "csv").stdout))
    assert all(row["case"].startswith("'=cmd()") for row in rows)


def test_help_loads_nothing_that_takes_its_time() -> None:
    """Neither the database nor what draws."""
    code = (
        "import sys\nfrom cnnperf import cli\nsys.argv = ['cnnperf', '--help']\n"
        "try:\n    cli.main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'duckdb', 'ruptures', 'altair', 'vl_convert', 'numpy', 'torch'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert "history" in done.stdout
