"""A whole run of peers without their packages: skipped with a sentence, and recorded as such."""

from __future__ import annotations

from pathlib import Path

from tests.examples import hide_packages, python_with
from tests.pytest_plugin.project import Project


def test_peer_without_its_package_is_skipped_with_a_message(
    project: Project, tmp_path: Path
) -> None:
    """Also where data are required: those are there, and nothing of the case's can be fetched."""
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    done = project.run(
        "--cnnperf-tier=full", "--cnnperf-require-data", "-rs", "-k",
        "modified_vgg-digits-28-peers-lightning",
        PYTHONPATH=python_with(hide_packages("lightning"), hidden)["PYTHONPATH"],
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "2 skipped" in done.stdout
    assert "engine lightning needs lightning: pip install 'cnnperf[peers]'" in done.stdout
    assert "Traceback" not in done.stdout
    record = project.record()
    assert [case.outcome for case in record.cases] == ["skipped", "skipped"]
    assert {case.error.kind for case in record.cases if case.error} == {"start"}
