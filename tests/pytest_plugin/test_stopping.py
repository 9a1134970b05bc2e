"""Ctrl-C, kill -9 and resuming: nothing that was measured is lost, no process stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from cnnperf.record.journal import RepeatEntry, read_journal
from cnnperf.record.loading import load_record
from tests.fake_python import fake_python
from tests.pytest_plugin.project import Project, wait_until

pytest.importorskip("torch", reason="training needs the extra `train`")

LONG = ("-k", "good", "--cnnperf-tier=full", "--cnnperf-repeats=2")
"""The short case twice, then the one that goes on until it is stopped."""


def finished(project: Project) -> int:
    """Repeats in the journal."""
    journals = project.journals()
    return journals[0].read_bytes().count(b'"kind":"repeat"') if journals else 0


def stop_in_the_long_case(project: Project, signal_number: int) -> subprocess.Popen[bytes]:
    """Start a run and stop it while the second case trains."""
    run = project.start(*LONG)
    wait_until(lambda: finished(project) >= 2 or run.poll() is not None, "two repeats are done")
    wait_until(lambda: "good-tiny-8-long-eager, training 1/2: epoch" in project.output, "it trains")
    assert project.workers(), project.output
    os.kill(run.pid, signal_number)
    run.wait()
    return run


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl_c", "sigterm"])
def test_stopped_run_writes_its_record_and_ends_the_worker(
    project: Project, number: signal.Signals
) -> None:
    """Pytest's own exit code for an interruption; the record says that it is not whole.

    SIGTERM is what a scheduler sends at the end of a job's time.
    """
    run = stop_in_the_long_case(project, number)
    assert run.returncode == pytest.ExitCode.INTERRUPTED
    wait_until(lambda: not project.workers(), "the worker is gone")
    record = project.record()
    assert record.interrupted
    assert [case.id for case in record.cases] == ["good-tiny-8-two-eager"]
    assert len(record.cases[0].repeats) == 2
    assert "interrupted: not every planned training was done" in project.output
    assert "--cnnperf-resume" in project.output
    assert "INTERNALERROR" not in project.output


def test_kill_9_loses_only_the_running_repeat(project: Project) -> None:
    """The journal has the rest: recovered as a record, and resumed without training it again."""
    stop_in_the_long_case(project, signal.SIGKILL)
    wait_until(lambda: not project.workers(), "the worker is gone")
    assert not project.json_path.exists()
    (journal,) = project.journals()

    recovered = project.folder / "recovered.json"
    subprocess.run(
        [sys.executable, "-m", "cnnperf.cli", "recover", str(journal), "-o", str(recovered)],
        check=True,
        capture_output=True,
    )
    record = load_record(recovered)
    assert [(case.id, len(case.repeats)) for case in record.cases] == [("good-tiny-8-two-eager", 2)]
    assert record.interrupted
    _, entries = read_journal(journal)
    old = [entry.repeat for entry in entries if isinstance(entry, RepeatEntry)]

    done = project.run("-k", "good and not long", "--cnnperf-tier=full", "--cnnperf-repeats=3",
                       f"--cnnperf-resume={journal}")  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert (
        "2 trainings (good-tiny-8-two-eager seed 0, good-tiny-8-two-eager seed 1) taken over"
        in (" ".join(done.stdout.split()))
    )
    assert project.journals() == [], "both journals go once the record has everything"
    (case,) = project.record().cases
    assert case.repeats[:2] == old
    assert [repeat.seed for repeat in case.repeats] == [0, 1, 2]
    (benchmark,) = project.content()["benchmarks"]
    assert benchmark["stats"]["rounds"] == 3
    assert benchmark["stats"]["data"] == [r.metrics.outside_train_seconds for r in case.repeats]


def test_kill_9_leaves_no_child_of_a_training(project: Project) -> None:
    """A worker's own children are ended too: its guardian outlives both, and sees to it."""
    run = project.start("-k", "parent", "--cnnperf-tier=smoke")
    wait_until(
        lambda: any("cnnperf-orphan" in " ".join(p.cmdline()) for p in project.workers()),
        "the training has started its child",
    )
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    wait_until(lambda: not project.workers(), "all are gone")


def test_record_is_written_without_benchmark_json(project: Project) -> None:
    """Under the time of day, so that none replaces another; the summary names it."""
    python = f"--cnnperf-python={fake_python(project.folder, 'python')}"
    command = [part for part in project.command("-k", "good", "--cnnperf-tier=smoke", python)
               if not part.startswith("--benchmark-json")]  # fmt: skip
    done = subprocess.run(
        command, cwd=project.folder, env=project.environment(), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    (path,) = (project.folder / ".cnnperf").iterdir()
    assert path.name.startswith("run-")
    assert str(path) in done.stdout
    assert load_record(path).cases[0].outcome == "passed"


def test_journal_of_another_recipe_is_not_taken_over(project: Project) -> None:
    """Its repeats are trained again, and the header says so."""
    python = fake_python(project.folder, "python", failing=("raising-eager",))
    smoke = ("--cnnperf-tier=smoke", f"--cnnperf-python={python}")
    first = project.run("-k", "good or raising", *smoke)
    assert first.returncode == 1
    (journal,) = project.journals()
    again = project.run("-k", "good", *smoke, "--cnnperf-epochs=1", f"--cnnperf-resume={journal}")
    assert again.returncode == 0, again.stdout
    assert "no training taken over" in again.stdout
    assert "1 training (good-tiny-8-two-eager seed 0) trained again" in again.stdout
    fingerprint = project.record().cases[0].fingerprint
    assert fingerprint is not None
    assert fingerprint.recipe.epochs == 1
