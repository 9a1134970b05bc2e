"""The script reports/make_results.py: which record counts for a case, and the page of all."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cnnperf.compare.calibration import Calibration, CaseNoise, Noise
from cnnperf.errors import UsageError
from cnnperf.record.schema import CaseRecord, Record
from cnnperf.run.calibrate import write_calibration
from tests.examples import (
    CREATED,
    example_case,
    example_case_record,
    example_environment,
    example_flag,
    example_record,
    example_repeat,
    write_record,
)

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "reports" / "make_results.py"


def _load_script() -> Any:
    spec = importlib.util.spec_from_file_location("make_results", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["make_results"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


make_results = _load_script()

MNIST = "modified_vgg-mnist-28-eager"
STACK = "h200-torch2.15-cu13"


def _write(folder: Path, name: str, record: Record) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return write_record(folder / name, json.loads(record.model_dump_json()))


def _case(times: list[float], flagged: int = 0, **fields: Any) -> CaseRecord:
    repeats = [example_repeat(seed, seconds) for seed, seconds in enumerate(times)]
    for repeat in repeats[:flagged]:
        repeat.warnings.append(example_flag())
    return example_case_record(repeats=repeats, **fields)


def _page(folder: Path) -> str:
    return make_results.results_page(folder, folder / "results.md")


def _row(page: str, start: str) -> list[str]:
    line = next(line for line in page.splitlines() if line.startswith(f"| `{start}`"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_record_with_most_repeats_counts_then_the_latest(tmp_path: Path) -> None:
    """A shortened, a failed and an older record do not, whatever they have."""
    stack = tmp_path / STACK
    _write(stack, "a.json", example_record(_case([20.0, 21.0, 22.0])))
    later = CREATED + timedelta(days=1)
    _write(stack, "b.json", example_record(_case([30.0, 31.0, 32.0]), created=later))
    _write(stack, "c.json", example_record(_case([1.0] * 9, shortened=True), created=later))
    _write(stack, "d.json", example_record(_case([2.0] * 9, outcome="failed"), created=later))
    _write(stack, "e.json", example_record(_case([40.0]), created=later))
    page = _page(tmp_path)
    assert _row(page, MNIST)[4:6] == ["3", "31.0 s (30.0 s to 32.0 s)"]
    assert f"1. [b.json]({STACK}/b.json)" in page


def test_row_shows_study_and_our_figures(tmp_path: Path) -> None:
    """Its time, accuracy and F1; ours with n and spread, the machine, its software, the command."""
    record = example_record(_case([20.0, 22.0, 21.0]), command="pytest benchmarks -k vgg")
    _write(tmp_path / STACK, "run.json", record)
    page = _page(tmp_path)
    assert _row(page, MNIST) == [
        f"`{MNIST}`", "199 s", "99.0 %", "99.0 %", "3", "21.0 s (20.0 s to 22.0 s)",
        "98.99 % (98.99 % to 98.99 %)", "98.98 % (98.98 % to 98.98 %)",
        "24,000 (24,000 to 24,000)", "31.2 %", "—", "1",
    ]  # fmt: skip
    assert f"## {STACK}" in page
    assert "cuda: NVIDIA H200, 139.80 GiB; torch 2.15.0, driver none, Python 3.11.7" in page
    assert f"1. [run.json]({STACK}/run.json), 2026-01-02: `pytest benchmarks -k vgg`" in page
    assert make_results.NO_GPU not in page


def test_page_without_a_gpu_record_starts_with_a_note(tmp_path: Path) -> None:
    """A table of CPU times must not be taken for what was asked for."""
    environment = example_environment(gpu=None)
    settings = environment.settings.model_copy(update={"device": "cpu"})
    environment = environment.model_copy(update={"settings": settings})
    _write(tmp_path / "cpu", "run.json", example_record(environment=environment))
    page = _page(tmp_path)
    assert page.index(make_results.NO_GPU) < page.index("| case |")


def test_stacks_with_a_gpu_come_first(tmp_path: Path) -> None:
    """They are what the suite is for."""
    environment = example_environment(gpu=None)
    settings = environment.settings.model_copy(update={"device": "cpu"})
    environment = environment.model_copy(update={"settings": settings})
    _write(tmp_path / "amd", "run.json", example_record(environment=environment))
    _write(tmp_path / "h200", "run.json", example_record())
    assert [stack.name for stack in make_results.read_stacks(tmp_path)] == ["h200", "amd"]


def test_disturbed_trainings_are_listed(tmp_path: Path) -> None:
    """Below the table, with how many of how many."""
    _write(tmp_path / STACK, "run.json", example_record(_case([20.0, 21.0, 22.0], flagged=2)))
    assert f"so their times say little: `{MNIST}` (2 of 3)" in _page(tmp_path)


def _peers(speeds: dict[str, float], repeats: int = 3, flagged: int = 0) -> list[CaseRecord]:
    cases = []
    for engine, speed in speeds.items():
        case = example_case().model_copy(update={"engine": engine})
        made = [example_repeat(seed, images_per_second=speed) for seed in range(repeats)]
        for repeat in made[:flagged]:
            repeat.warnings.append(example_flag())
        cases.append(example_case_record(case, made, id=case.id, suite="peers"))
    return cases


def test_peers_are_compared_within_one_file(tmp_path: Path) -> None:
    """The fastest first; a file with an engine that was mostly disturbed does not speak."""
    stack = tmp_path / STACK
    _write(stack, "peers.json", example_record(*_peers({"plain": 100.0, "fast": 250.0})))
    noisy = _peers({"plain": 10.0, "fast": 500.0}, repeats=5, flagged=3)
    _write(stack, "noisy.json", example_record(*noisy))
    page = _page(tmp_path)
    assert _row(page, "fast")[1:4] == ["1.00 x", "3", "250 (250 to 250)"]
    assert _row(page, "plain")[1:4] == ["2.50 x", "3", "100 (100 to 100)"]
    assert page.index("| `fast`") < page.index("| `plain`")


def test_calibration_in_the_folder_is_shown(tmp_path: Path) -> None:
    """Spread, and the smallest change that can be found for it."""
    _write(tmp_path / STACK, "run.json", example_record())
    noise = Noise(n=20, mean=20.0, sd=0.012, smallest_change=0.0623)
    calibration = Calibration(
        created=CREATED, hardware=example_environment().hardware,
        cases={MNIST: CaseNoise(metrics={"train_seconds": noise})},
    )  # fmt: skip
    write_calibration(calibration, tmp_path / STACK / "noise.calibration.json")
    page = _page(tmp_path)
    assert f"| `{MNIST}` | train time | 20 | 20.0 s | 1.20 % | 6.23 % |" in page


def test_missing_command_is_read_from_the_readme(tmp_path: Path) -> None:
    """Records of before have none; where the README tells neither, the page says so."""
    for name in ("old.json", "older.json"):
        case = example_case("modified_vgg" if name == "old.json" else "modified_resnet")
        _write(tmp_path / STACK, name, example_record(example_case_record(case)))
    (tmp_path / "README.md").write_text(f"| `{STACK}/old.json` | `pytest x -k 'a b'`; once | 1 |\n")
    page = _page(tmp_path)
    assert f"[old.json]({STACK}/old.json), 2026-01-02: `pytest x -k 'a b'`" in page
    assert f"[older.json]({STACK}/older.json), 2026-01-02: command unknown" in page


def test_hostile_text_is_no_markup(tmp_path: Path) -> None:
    """A record may come from anybody."""
    record = example_record(command="pytest `x` <script> | @everyone")
    environment = example_environment(gpu=None, cpu_model="<img src=x> [a](b)")
    _write(tmp_path / "x", "run.json", record.model_copy(update={"environment": environment}))
    page = _page(tmp_path)
    assert "``pytest `x` <script> | @everyone``" in page
    assert "`cuda: <img src=x> [a](b)" in page


@pytest.mark.parametrize("folder", ["nowhere", ""])
def test_folder_without_records_is_an_error(tmp_path: Path, folder: str) -> None:
    """The sentence names what was expected there."""
    with pytest.raises(UsageError, match="has no records: expected files like"):
        make_results.read_stacks(tmp_path / folder)


def test_script_writes_the_page(tmp_path: Path) -> None:
    """A folder without records is one sentence, and the page stays."""
    _write(tmp_path / "reports" / STACK, "run.json", example_record(_case([20.0])))
    page = tmp_path / "results.md"

    def run(folder: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(SCRIPT), folder, "-o", str(page)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert run("reports").returncode == 0
    before = page.read_text()
    assert _row(before, MNIST)[4] == "1"
    done = run("nowhere")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("make_results: nowhere has no records")
    assert page.read_text() == before


def test_page_of_the_project_matches_its_records() -> None:
    """After a new record: `make results`."""
    path = ROOT / "docs" / "results.md"
    assert path.read_text(encoding="utf-8") == make_results.results_page(SCRIPT.parent, path)
