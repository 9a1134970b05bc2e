"""Memory that runs out, and an assertion in a kernel: each costs its own repeat and nothing else.

On a GPU such an assertion leaves its process without CUDA for good, which is why each training has
a process of its own. The same run is made on a CPU, where the exceptions are others.
"""

from __future__ import annotations

import subprocess

import pytest

from cnnperf.record.schema import CaseRecord
from tests.pytest_plugin.project import INI, Project

pytest.importorskip("torch", reason="training needs the extra `train`")

ENGINES = {"cpu": ("eager",), "cuda": ("eager", "fast")}
"""A CPU knows no device-side assertion, so there one engine shows that this test works."""

GPU_INI = INI.replace("tiny_cases", "tiny_cases gpu_cases")

Run = tuple[Project, subprocess.CompletedProcess[str], str]


@pytest.fixture(scope="module", params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def ruinous_run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two repeats of each case, the second of which ruins its device where the case is to."""
    device: str = request.param
    project = Project(tmp_path_factory.mktemp("ruinous"), GPU_INI)
    done = project.run(
        "-k", f"(greedy or asserting or after) and ({' or '.join(ENGINES[device])})",
        "--cnnperf-tier=full", "--cnnperf-repeats=2", f"--cnnperf-device={device}",
    )  # fmt: skip
    return project, done, device


def _cases(run: Run, model: str) -> list[CaseRecord]:
    """Of every engine."""
    project, done, device = run
    found = [case for case in project.record().cases if case.model == model]
    assert [case.engine for case in found] == list(ENGINES[device]), done.stdout
    return found


def test_run_continues_after_a_device_failure(ruinous_run: Run) -> None:
    """Those that behave pass after all that went before them."""
    project, done, device = ruinous_run
    assert done.returncode == 1, done.stdout
    engines = len(ENGINES[device])
    assert f"{2 * engines} failed, {engines} passed" in done.stdout
    assert not project.record().interrupted
    for case in _cases(ruinous_run, "after"):
        assert case.outcome == "passed"
        assert [repeat.seed for repeat in case.repeats] == [0, 1]


def test_running_out_of_memory_costs_one_repeat(ruinous_run: Run) -> None:
    """The one before it is kept, and the record says what happened to which seed."""
    for case in _cases(ruinous_run, "greedy"):
        assert [repeat.seed for repeat in case.repeats] == [0]
        assert case.error is not None
        assert (case.error.kind, case.error.seed) == ("out_of_memory", 1)
        assert "out of memory" in case.error.message


def test_a_device_side_assertion_costs_one_repeat(ruinous_run: Run) -> None:
    """Its message is torch's; the GPU is as good as new for the process after it."""
    said = "device-side assert" if ruinous_run[2] == "cuda" else "index 1000 is out of bounds"
    for case in _cases(ruinous_run, "asserting"):
        assert [repeat.seed for repeat in case.repeats] == [0]
        assert case.error is not None
        assert (case.error.kind, case.error.seed) == ("exception", 1)
        assert said in case.error.message


def test_device_failure_leaves_no_process(ruinous_run: Run) -> None:
    """None that would hold the device's memory."""
    project, _, _ = ruinous_run
    assert project.workers() == []
