"""--cnnperf-deterministic from the command line to the record, and what it is not mixed with."""

from __future__ import annotations

import pytest

from tests.pytest_plugin.project import Project

pytest.importorskip("torch", reason="training needs the extra `train`")

CASE = "good-tiny-8-two-eager"


def test_deterministic_run_keeps_losses_and_resumes_only_deterministically(
    project: Project,
) -> None:
    """A journal's deterministic repeat is trained again by a plain run, not by another such one."""
    first = project.run("-k", "good or raising", "--cnnperf-tier=smoke", "--cnnperf-deterministic")
    assert first.returncode == 1, first.stdout
    assert "; deterministic, so slower" in first.stdout
    record = project.record()
    (repeat,) = next(case for case in record.cases if case.id == CASE).repeats
    assert repeat.steps == len(repeat.step_losses or []) == 8
    assert repeat.settings is not None
    assert repeat.settings.deterministic_algorithms is True
    assert record.environment.settings.deterministic_algorithms is True
    (journal,) = project.journals()

    resume = ("-k", "good", "--cnnperf-tier=smoke", f"--cnnperf-resume={journal}")
    plain = project.run(*resume)
    assert plain.returncode == 0, plain.stdout
    assert "no training taken over" in plain.stdout
    assert f"1 training ({CASE} seed 0) trained again" in plain.stdout
    assert "; deterministic, so slower" not in plain.stdout
    (other,) = project.record().cases[0].repeats
    assert other.step_losses is None
    assert other.settings is not None
    assert other.settings.deterministic_algorithms is False

    again = project.run(*resume, "--cnnperf-deterministic")
    assert again.returncode == 0, again.stdout
    assert f"1 training ({CASE} seed 0) taken over" in " ".join(again.stdout.split())
    assert project.record().cases[0].repeats == [repeat]
