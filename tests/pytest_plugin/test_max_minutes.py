"""`--cnnperf-max-minutes`: runs that end by themselves, and go on where they stopped.

The trainings are those of `tests/fake_python.py`, all else is real.
"""

from __future__ import annotations

import shlex
import subprocess
import time
from pathlib import Path

import pytest

from cnnperf.catalog.registry import get_case
from cnnperf.record.messages import TrainJob
from cnnperf.run.time_limit import EXIT_OUT_OF_TIME, OutOfTimeError, TimeLimit
from cnnperf.run.worker_process import Worker
from tests.fake_python import fake_python
from tests.pytest_plugin.project import Project

VGG, RESNET = "modified_vgg-digits-28-brief-eager", "modified_resnet-digits-28-brief-eager"
LEFT = "out of time: {} of {} trainings are left after 60 minutes (--cnnperf-max-minutes)"


@pytest.fixture
def select(project: Project) -> tuple[str, ...]:
    """Two cases of the smoke tier, trained by an interpreter that only says so."""
    python = fake_python(project.folder, "python-that-trains")
    return ("-k", f"{VGG} or {RESNET}", "--cnnperf-tier=smoke", f"--cnnperf-python={python}")


def _slow_down(journal: Path, case_id: str) -> None:
    """Let a journal say that this case's trainings took a day."""
    model = case_id.partition("-")[0]
    lines = journal.read_text().splitlines()
    slow = [
        line.replace('"train_seconds":10.0', '"train_seconds":86400.0')
        if f'"model":"{model}"' in line
        else line
        for line in lines
    ]
    assert slow != lines
    journal.write_text("\n".join(slow) + "\n")


def _unfinished(project: Project, select: tuple[str, ...]) -> Path:
    """The journal of a run that had one training of each case and then died."""
    assert project.run(*select).returncode == 0
    python = fake_python(project.folder, "python-that-fails", failing=("resnet34-eager",))
    failing = [part for part in select if "python" not in part]
    failing[1] += " or resnet34"
    done = project.run(*failing, f"--cnnperf-python={python}")
    assert done.returncode == 1, done.stdout
    (journal,) = project.journals()
    return journal


def test_case_without_time_is_left_and_the_printed_command_continues(
    project: Project, select: tuple[str, ...]
) -> None:
    """The shorter case is trained meanwhile; in the end the record is whole and no journal left."""
    journal = _unfinished(project, select)
    _slow_down(journal, VGG)
    done = project.run(*select, "--cnnperf-repeats=2", "--cnnperf-max-minutes=60",
                       f"--cnnperf-resume={journal}")  # fmt: skip
    assert done.returncode == EXIT_OUT_OF_TIME, done.stdout
    text = " ".join(done.stdout.split())
    assert LEFT.format(1, 4) in text
    assert "1 passed, 1 skipped" in text
    record = project.record()
    assert record.interrupted
    assert {case.id: len(case.repeats) for case in record.cases} == {VGG: 1, RESNET: 2}

    command = next(line for line in done.stdout.splitlines() if "--cnnperf-resume=" in line)
    again = subprocess.run(
        [part for part in shlex.split(command) if "max-minutes" not in part],
        cwd=project.folder, env=project.environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert again.returncode == 0, again.stdout
    assert "3 trainings" in again.stdout
    whole = project.record()
    assert not whole.interrupted
    assert [len(case.repeats) for case in whole.cases] == [2, 2]
    assert whole.command is not None
    assert whole.command.endswith(
        "--cnnperf-tier=smoke --cnnperf-python=PYTHON --cnnperf-repeats=2"
    )
    assert project.journals() == [journal], "that of the first run has a case that is no part of it"


def test_run_without_time_for_any_training_is_a_usage_error(
    project: Project, select: tuple[str, ...]
) -> None:
    """Else a script that goes on until all is done would go on for ever."""
    journal = _unfinished(project, select)
    _slow_down(journal, VGG)
    done = project.run("-k", VGG, *select[2:], "--cnnperf-repeats=2", "--cnnperf-max-minutes=60",
                       f"--cnnperf-resume={journal}")  # fmt: skip
    assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stdout
    text = " ".join(done.stdout.split())
    assert "no training finished in time" in text
    assert LEFT.format(1, 2) in text
    assert len(project.journals()) == 2


def test_failure_wins_over_the_time_limit(project: Project, select: tuple[str, ...]) -> None:
    """Exit code 1: going on would not mend it."""
    journal = _unfinished(project, select)
    _slow_down(journal, RESNET)
    python = fake_python(project.folder, "python-that-fails", failing=("modified_vgg-eager",))
    done = project.run(*select[:3], f"--cnnperf-python={python}", "--cnnperf-repeats=2",
                       "--cnnperf-max-minutes=60", f"--cnnperf-resume={journal}")  # fmt: skip
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout
    assert LEFT.format(1, 4) in " ".join(done.stdout.split())


def test_training_is_ended_when_the_time_is_up(tmp_path: Path) -> None:
    """At once, and as nobody's failure."""
    job = TrainJob(case=get_case(VGG), seed=0, data_dir=str(tmp_path))
    python = fake_python(tmp_path, "python", free=0)
    limit = TimeLimit(9)
    with Worker(job, python=python, limit=limit) as worker:
        worker.wait_ready()
        worker.go()
        limit.deadline = time.monotonic()
        with pytest.raises(OutOfTimeError, match="ended after 9 minutes of the run"):
            worker.wait_trained()
    assert limit.reached
    assert worker._process.poll() is not None
