"""Runs of the suite `infer`, as a user makes them."""

from __future__ import annotations

import pytest

from tests.pytest_plugin.project import Project

pytest.importorskip("torch", reason="training needs the extra `train`")

CASE = "calm-tiny-8-two-eager"


def test_infer_case_is_trained_recorded_and_resumed(project: Project) -> None:
    """Beside a case that fails, so that the journal stays; going on with it trains nothing."""
    done = project.run("-k", "calm or raising", "--cnnperf-tier=full", "--cnnperf-repeats=1")
    assert done.returncode == 1, done.stdout
    assert f"[1/2] {CASE}: measuring inference, 0/8 configurations done" in done.stdout
    assert f"{CASE}: inference, trained in float32" in done.stdout
    case = {case.id: case for case in project.record().cases}[CASE]
    (repeat,) = case.repeats
    assert repeat.inference is not None
    assert len(repeat.inference.results) == 8
    (benchmark,) = project.content()["benchmarks"]
    assert benchmark["name"] == f"test_infer[{CASE}]"
    assert benchmark["stats"]["data"] == [repeat.inference.outside_seconds]
    assert benchmark["extra_info"]["latency_seconds_p50"] == repeat.metrics.latency_seconds_p50
    (journal,) = project.journals()
    again = project.run("-k", "calm", "--cnnperf-tier=full", "--cnnperf-repeats=1",
                        f"--cnnperf-resume={journal}")  # fmt: skip
    assert again.returncode == 0, again.stdout
    assert "starting" not in again.stdout
    assert project.record().cases == [case]
    assert project.content()["benchmarks"][0]["stats"]["data"] == benchmark["stats"]["data"]
