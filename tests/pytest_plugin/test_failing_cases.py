"""One run in which cases are killed, starve, diverge, hang and raise: each costs itself alone."""

from __future__ import annotations

import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from cnnperf.record.schema import CaseRecord, Record
from tests.pytest_plugin.project import Project

pytest.importorskip("torch", reason="training needs the extra `train`")

LAST_WORDS = {
    "good": None,
    "killed": "killed by SIGKILL",
    "hungry": "out of memory:",
    "diverging": "loss became nan in epoch 2, step 2",
    "hanging": "no result after 40 s",
    "raising": "RuntimeError: the cat sat on the keyboard",
}
KINDS = {
    "killed": "killed",
    "hungry": "out_of_memory",
    "diverging": "nan_loss",
    "hanging": "timeout",
    "raising": "exception",
}


@pytest.fixture(scope="module")
def broken_run(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Project, subprocess.CompletedProcess[str]]:
    """The run."""
    project = Project(tmp_path_factory.mktemp("broken"))
    done = project.run(
        "-k", "tiny and not parent and not leaving", "--cnnperf-tier=smoke",
        "--cnnperf-timeout=40", "--junitxml=junit.xml",
    )  # fmt: skip
    return project, done


def case_of(record: Record, model: str) -> CaseRecord:
    """The case of a model."""
    return next(case for case in record.cases if case.model == model)


BrokenRun = tuple[Project, subprocess.CompletedProcess[str]]


def test_run_continues_after_a_failure_and_exits_1(broken_run: BrokenRun) -> None:
    """Every case had its turn; pytest's exit code for failed tests is 1."""
    project, done = broken_run
    assert done.returncode == 1, done.stdout
    assert "5 failed, 1 passed" in done.stdout
    assert {case.model for case in project.record().cases} == set(LAST_WORDS)


@pytest.mark.parametrize("model", KINDS)
def test_each_failure_has_its_kind_and_one_line(broken_run: BrokenRun, model: str) -> None:
    """In the record, in the table's notes and in pytest's own summary."""
    project, done = broken_run
    case = case_of(project.record(), model)
    assert case.outcome == "failed"
    assert case.error is not None
    assert case.error.kind == KINDS[model]
    assert case.error.seed == 0
    assert (LAST_WORDS[model] or "") in case.error.message
    assert "\n" not in case.error.message
    assert f"failed: {model}-tiny-8-two-eager" in " ".join(done.stdout.split())


def test_no_traceback_reaches_the_terminal(broken_run: BrokenRun) -> None:
    """The traceback is in the record, for whoever wants it."""
    project, done = broken_run
    assert "Traceback" not in done.stdout
    error = case_of(project.record(), "raising").error
    assert error is not None
    assert "in _raise" in (error.traceback or "")


def test_finished_repeats_of_a_failing_run_are_kept(broken_run: BrokenRun) -> None:
    """The good case has its repeat, in our record and among pytest-benchmark's."""
    project, _ = broken_run
    case = case_of(project.record(), "good")
    assert case.outcome == "passed"
    assert len(case.repeats) == 1
    assert [b["param"] for b in project.content()["benchmarks"]] == ["good-tiny-8-two-eager"]


def test_journal_of_a_failing_run_stays(broken_run: BrokenRun) -> None:
    """The failed cases can be trained again without the good one."""
    project, done = broken_run
    (journal,) = project.journals()
    assert f"--cnnperf-resume={journal}" in done.stdout


def test_junit_has_one_test_case_for_each_case(broken_run: BrokenRun) -> None:
    """Pytest's own report sees the same failures."""
    project, _ = broken_run
    suite = ElementTree.parse(project.folder / "junit.xml").getroot()[0]  # noqa: S314 - our file
    names = {case.get("name"): case.find("failure") is not None for case in suite}
    assert names["test_train[good-tiny-8-two-eager]"] is False
    assert names["test_train[raising-tiny-8-two-eager]"] is True


def test_no_process_is_left(broken_run: BrokenRun) -> None:
    """Neither the killed nor the hanging worker runs on."""
    project, _ = broken_run
    assert project.workers() == []


def test_pytest_benchmark_compares_the_file(broken_run: BrokenRun, tmp_path: Path) -> None:
    """Every tool that reads pytest-benchmark's JSON reads ours."""
    project, _ = broken_run
    done = subprocess.run(
        ["pytest-benchmark", "compare", str(project.json_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "good-tiny-8-two-eager" in done.stdout
