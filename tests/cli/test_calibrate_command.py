"""A machine's own noise: one interpreter in turns with itself, in time, and going on."""

from __future__ import annotations

import math
import shlex
import statistics
import sys
import time
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from cnnperf.cli import commands as cli
from cnnperf.compare.calibration import SUFFIX, load_calibration
from cnnperf.record.loading import load_record
from cnnperf.run.time_limit import TimeLimit
from tests.commands import run_cnnperf, sentence_of
from tests.examples import plain_terminal, python_with
from tests.fake_python import fake_python
from tests.pairs import VGG, VGG_ID, log_of

CHECK = TimeLimit.check

ONE = "modified_vgg and eager"
"""Selects one case of the smoke tier."""


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A calibration goes into `reports/` of where the command is called."""
    plain_terminal(monkeypatch)
    monkeypatch.chdir(tmp_path)


def _in_process(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Result:
    """The command, in a process whose clock a test can set."""
    monkeypatch.setattr(sys, "argv", ["cnnperf", *arguments])
    return CliRunner().invoke(cli.app, arguments)


def _let_time_be_up(
    monkeypatch: pytest.MonkeyPatch, *, after: int, meanwhile: bool = False
) -> None:
    """When so many trainings were started: with the next, or while the last is going on."""
    started = 0

    def counting(limit: TimeLimit, case_id: str, guess_seconds: float | None) -> None:
        nonlocal started
        if started == after:
            limit.deadline = time.monotonic()
        CHECK(limit, case_id, guess_seconds)
        started += 1
        if meanwhile and started == after:
            limit.deadline = time.monotonic()

    monkeypatch.setattr(TimeLimit, "check", counting)


def _own_python(folder: Path, fake: str) -> dict[str, str]:
    """An environment in which this interpreter's workers are a fake's."""
    source = f"""
import os, sys

if sys.argv[:1] == ["-m"] and "cnnperf.training.worker" in sys.orig_argv:
    os.execv({fake!r}, [{fake!r}, sys.orig_argv[-1]])
"""
    return python_with(source, folder)


def test_calibrating_measures_the_noise_of_this_interpreter(tmp_path: Path) -> None:
    """In turns with itself, every training with a seed of its own; the next verdict knows it."""
    noise = {VGG: 0.02}
    env = _own_python(tmp_path, fake_python(tmp_path, "own", noise=noise))
    done = run_cnnperf("calibrate", "-k", ONE, "-t", "smoke", "--repeats=6",
                       "--out", "aa", cwd=tmp_path, env=env)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    seeds = [int(seed) for _, _, seed in log_of(tmp_path)]
    assert seeds == [0, 6, 7, 1, 2, 8, 9, 3, 4, 10, 11, 5]
    (path,) = (tmp_path / ".cnnperf").glob(f"*{SUFFIX}")
    calibration = load_calibration(path)
    times = [
        math.log(repeat.metrics.train_seconds)
        for name in ("a.json", "b.json")
        for repeat in load_record(tmp_path / "aa" / name).cases[0].repeats
    ]
    assert calibration.noise(VGG_ID, "train_seconds") == pytest.approx(statistics.stdev(times))
    assert calibration.cases[VGG_ID].metrics["train_seconds"].n == 12
    assert "FALSE ALARM" not in done.stdout

    a, b = (fake_python(tmp_path, name, noise=noise) for name in ("a", "b"))
    done = run_cnnperf("ab", "--a", a, "--b", b, "-t", "smoke", "--device", "cpu", "-k", ONE,
                       "--max-repeats=2", "--out", "out", cwd=tmp_path)  # fmt: skip
    assert "thresholds include the noise" in done.stdout, done.stderr


def test_calibration_resumes_after_the_time_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole in the end, in turns all along, every training once; no journal is left."""
    own = fake_python(tmp_path, "own", noise={VGG: 0.02})
    asked = ["-k", ONE, "-t", "smoke", "--repeats=3", "--max-minutes=60", f"--python={own}"]
    folder = tmp_path / "aa"
    _let_time_be_up(monkeypatch, after=4)
    done = _in_process(monkeypatch, "calibrate", *asked, "--out", str(folder))
    assert done.exit_code == 75, done.output
    assert "out of time: 2 of 6 trainings are left" in done.stderr
    assert len(list(folder.glob("*.journal.jsonl"))) == 2
    assert load_record(folder / "a.json").interrupted

    command = shlex.split(done.stderr.splitlines()[-1])
    assert command == ["cnnperf", "calibrate", *asked, f"--resume={folder}"]
    _let_time_be_up(monkeypatch, after=4)
    done = _in_process(monkeypatch, *command[1:])
    assert done.exit_code == 0, done.output
    kept = [
        [repeat.seed for repeat in load_record(folder / name).cases[0].repeats]
        for name in ("a.json", "b.json")
    ]
    assert kept == [[0, 1, 2], [3, 4, 5]]
    assert [int(seed) for _, _, seed in log_of(tmp_path)] == [0, 3, 4, 1, 2, 5]
    assert not list(folder.glob("*.journal.jsonl"))
    assert "smallest change" in done.stdout


def test_calibration_without_a_finished_training_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calling it again would not help."""
    own = fake_python(tmp_path, "own", free=0)
    asked = ["-k", ONE, "-t", "smoke", "--max-minutes=60", f"--python={own}"]
    _let_time_be_up(monkeypatch, after=1, meanwhile=True)
    done = _in_process(monkeypatch, "calibrate", *asked, "--out", str(tmp_path / "aa"))
    assert done.exit_code == 2
    assert "no training finished in time" in done.stderr
    assert "the time limit ended these trainings" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--resume", "nowhere"], "nowhere has no stopped run to resume"),
        (["--resume", "a", "--out", "b"], "expected --resume or --out, not both"),
        (["--max-minutes", "0"], "--max-minutes: expected a number of minutes above 0"),
        (["--python", "no-such-python"], "A (no-such-python) cannot be started"),
    ],
)
def test_calibration_that_cannot_start_is_one_sentence(
    tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    """Before anything is trained, and nothing is left."""
    done = run_cnnperf("calibrate", "-t", "smoke", *arguments, cwd=tmp_path)
    assert sentence in sentence_of(done)
    assert not list(tmp_path.iterdir())
