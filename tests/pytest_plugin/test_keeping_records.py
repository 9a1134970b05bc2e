"""A good record is not lost: to a run that measured nothing, to a second run, to another plugin."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.pytest_plugin.project import Project, wait_until

pytest.importorskip("torch", reason="training needs the extra `train`")

CASE = ("-k", "good and two")
LONG = ("-k", "good and long", "--cnnperf-tier=full")
KEPT = "is that of an earlier run: this one finished no training"


def with_record(project: Project) -> bytes:
    """Train a case and return the bytes of its record."""
    done = project.run(*CASE)
    assert done.returncode == 0, done.stdout
    return project.json_path.read_bytes()


def test_a_run_that_measured_nothing_keeps_the_old_record(project: Project) -> None:
    """Nothing was to be trained, or every training failed; a later good run replaces it."""
    before = with_record(project)
    for arguments, code in (
        ((*CASE, "--setup-plan"), 0),
        ((*CASE, "--setup-only"), None),
        (("-k", "raising"), 1),
        ((*CASE, "--cnnperf-seed=1", "--cnnperf-timeout=0.001"), 1),
    ):
        done = project.run(*arguments)
        assert code in (None, done.returncode), done.stdout
        assert project.json_path.read_bytes() == before, arguments
    assert KEPT in done.stdout
    assert project.run(*CASE, "--cnnperf-seed=7").returncode == 0
    assert project.record().cases[0].repeats[0].seed == 7


def test_a_failed_case_shows_its_reason_once(project: Project) -> None:
    """In pytest's failures, without the error that it came from."""
    done = project.run("-k", "raising")
    assert "During handling of the above exception" not in done.stdout
    failures = done.stdout.partition("= FAILURES =")[2].partition("= cnnperf =")[0]
    assert failures.count("raising-tiny-8-two-eager: ") == 1


def test_two_runs_cannot_write_one_record(project: Project) -> None:
    """The second one is refused at once; so is resuming the journal of a run that lives."""
    run = project.start(*LONG)
    wait_until(lambda: "epoch" in project.output or run.poll() is not None, "it trains")
    (journal,) = project.journals()
    for arguments, message in (
        (CASE, "another run will write"),
        ((*CASE, f"--cnnperf-resume={journal}", "--benchmark-json=other.json"), "is in use by"),
    ):
        done = project.run(*arguments)
        assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stdout
        assert message in " ".join(done.stdout.split())
        if sys.platform == "linux":
            assert f"process {run.pid};" in " ".join(done.stdout.split())
    assert run.poll() is None, "the first one goes on"
    run.kill()
    run.wait()
    wait_until(lambda: not project.workers(), "the worker is gone")
    assert project.run(*CASE).returncode == 0, "a killed run leaves no lock"


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
def test_a_second_signal_ends_the_run_at_once(project: Project, number: signal.Signals) -> None:
    """No traceback; the journal and the exit code say what happened."""
    run = project.start(*LONG)
    wait_until(lambda: "epoch" in project.output or run.poll() is not None, "it trains")
    for _ in range(200):
        if run.poll() is not None:
            break
        os.kill(run.pid, number)
    run.wait()
    assert "Traceback" not in project.output
    assert "INTERNALERROR" not in project.output
    assert run.returncode in (128 + number, pytest.ExitCode.INTERRUPTED)
    wait_until(lambda: not project.workers(), "the worker is gone")


def test_a_run_does_not_replace_what_it_reads(project: Project) -> None:
    """Its baseline, the journal that it resumes; a journal is kept where no record is written."""
    before = with_record(project)
    done = project.run(*CASE, f"--cnnperf-baseline={project.json_path}")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stdout
    assert "is an input of this command" in " ".join(done.stdout.split())
    assert project.json_path.read_bytes() == before
    run = project.start("-k", "good", "--cnnperf-tier=full")
    wait_until(
        lambda: any(b'"kind":"repeat"' in path.read_bytes() for path in project.journals()), "one"
    )
    run.kill()
    run.wait()
    wait_until(lambda: not project.workers(), "the worker is gone")
    (journal,) = project.journals()
    for arguments in ((f"--benchmark-json={journal}",), ("--benchmark-disable",)):
        project.run(*CASE, f"--cnnperf-resume={journal}", *arguments)
        assert b'"kind":"repeat"' in journal.read_bytes(), arguments


def test_a_record_cannot_be_kept_in_a_pipe(project: Project) -> None:
    """Refused at once, instead of waiting for a reader."""
    pipe = project.folder / "pipe"
    os.mkfifo(pipe)
    done = project.run(*CASE, f"--benchmark-json={pipe}")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stdout
    assert "is no regular file" in " ".join(done.stdout.split())


FOREIGN = """
import pytest

@pytest.fixture
def benchmark():
    return lambda function: function()
"""


def test_another_benchmark_fixture_is_refused_before_training(project: Project) -> None:
    """As pytest-codspeed's, which replaces pytest-benchmark's: nothing would be recorded."""
    conftest = project.folder / "conftest.py"
    conftest.write_text(conftest.read_text() + FOREIGN)
    done = project.run(*CASE)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stdout
    assert "the fixture `benchmark` is that of" in " ".join(done.stdout.split())
    assert project.journals() == []


def test_a_run_of_an_unwritable_record_keeps_its_journal(project: Project, tmp_path: Path) -> None:
    """A folder takes the place of the record while it trains: the trainings are in the journal."""
    (project.folder / "benchmarks" / "test_train.py").write_text(
        "from pathlib import Path\n"
        "def test_train(cnnperf_case, cnnperf_train):\n"
        "    cnnperf_train(cnnperf_case)\n"
        f"    Path({str(project.json_path)!r}).mkdir()\n"
    )
    done = project.run(*CASE)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stdout
    assert "the record could not be written" in " ".join(done.stdout.split())
    (journal,) = project.journals()
    assert b'"kind":"repeat"' in journal.read_bytes()
