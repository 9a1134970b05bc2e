"""The GitHub Actions workflow of docs/ci.md, step by step on a fake runner."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from tests.docs.ci_machine import Machine, kind_of
from tests.examples import plain_terminal


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    plain_terminal(monkeypatch)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Return a machine on which nothing has run yet."""
    return Machine(tmp_path)


def test_install_step_makes_an_environment_that_later_steps_use(machine: Machine) -> None:
    """It lies in the runner's temporary folder, which the runner empties."""
    done = machine.step("Install")
    assert done.returncode == 0, done.stderr
    found = machine.run("command -v python").stdout.strip()
    assert found == f"{machine.environment['RUNNER_TEMP']}/venv/bin/python"


def _artifact(run: int, created: str, **changes: Any) -> dict[str, Any]:
    own = {"id": run, "head_branch": "main", "repository_id": 7, "head_repository_id": 7}
    return {"expired": False, "created_at": created, "workflow_run": {**own, **changes}}


def test_baseline_is_the_newest_artifact_of_the_branch_itself(machine: Machine) -> None:
    """Artifacts of forks, of other branches, and expired ones do not count.

    A fork runs its own workflow file, so it can upload anything under that name.
    """
    listing = [
        _artifact(1, "2026-01-01T00:00:00Z"),
        _artifact(3, "2026-01-03T00:00:00Z"),
        _artifact(2, "2026-01-02T00:00:00Z"),
        {**_artifact(4, "2026-01-04T00:00:00Z"), "expired": True},
        _artifact(5, "2026-01-05T00:00:00Z", head_branch="topic"),
        _artifact(6, "2026-01-06T00:00:00Z", head_repository_id=8),
    ]
    artifacts = machine.folder / "artifacts.json"
    artifacts.write_text(json.dumps({"total_count": len(listing), "artifacts": listing}))
    machine.lay("../3/run.json", "base")
    done = machine.step("Fetch the baseline", STUB_ARTIFACTS=str(artifacts), GH_TOKEN="t")  # noqa: S106
    assert done.returncode == 0, done.stderr
    assert kind_of(machine.work / "baseline" / "run.json") == "base"


def test_no_artifact_means_no_baseline_and_no_error(machine: Machine) -> None:
    """This is the very first run."""
    artifacts = machine.folder / "artifacts.json"
    artifacts.write_text('{"total_count": 0, "artifacts": []}')
    done = machine.step("Fetch the baseline", STUB_ARTIFACTS=str(artifacts), GH_TOKEN="t")  # noqa: S106
    assert (done.returncode, done.stderr) == (0, "")
    assert not (machine.work / "baseline").exists()


def test_failed_fetch_fails_the_job(machine: Machine) -> None:
    """It must not pass for a missing baseline."""
    assert machine.step("Fetch the baseline", GH_TOKEN="t").returncode == 1  # noqa: S106


def test_train_step_leaves_a_record_and_the_exit_code_of_pytest(machine: Machine) -> None:
    """It trains five repeats per case and requires the data sets."""
    record = machine.lay("../prepared.json", "same")
    assert machine.step("Train", STUB_RECORD=record).returncode == 0
    assert kind_of(machine.work / "run.json") == "same"
    assert machine.log.read_text() == (
        "benchmarks --benchmark-json=run.json --cnnperf-repeats=5 --cnnperf-require-data\n"
    )
    assert machine.step("Train", STUB_RECORD=record, STUB_CODE="1").returncode == 1


@pytest.mark.parametrize(
    ("kind", "code", "verdict"),
    [
        ("same", 0, "no regression"),
        ("slower", 1, "slower"),
        ("less accurate", 1, "worse"),
        ("vanished", 1, "missing"),
        ("other torch", 3, "not comparable"),
    ],
)
def test_compare_step_writes_summary_annotations_and_junit(
    machine: Machine, kind: str, code: int, verdict: str
) -> None:
    """It ends with the exit code of the comparison."""
    machine.lay("baseline/run.json", "base")
    machine.lay("run.json", kind)
    done = machine.step("Compare")
    assert (done.returncode, done.stderr) == (code, "")
    assert verdict in done.stdout
    assert verdict in machine.summary.read_text()
    assert "modified_vgg-mnist-28-eager" in machine.summary.read_text()
    assert ("::error" in done.stdout) is (code == 1)
    suites = ET.parse(machine.work / "junit.xml").getroot()  # noqa: S314
    assert len(suites.findall(".//testcase")) >= 1
    bad = suites.findall(".//failure") + suites.findall(".//error")
    assert (len(bad) > 0) is (code == 1)


@pytest.mark.parametrize(("event", "code"), [("schedule", 0), ("pull_request", 3)])
def test_pull_request_without_a_baseline_fails(machine: Machine, event: str, code: int) -> None:
    """An expired baseline must not open the gate; a run on the branch passes and records one."""
    machine.lay("run.json", "slower")
    done = machine.step("Compare", GITHUB_EVENT_NAME=event)
    assert (done.returncode, done.stderr) == (code, "")
    assert machine.summary.read_text() == done.stdout
    assert done.stdout == "No baseline found: a run on main records one.\n"


@pytest.mark.parametrize("content", [None, ""])
def test_missing_or_empty_record_ends_with_2_and_one_sentence(
    machine: Machine, content: str | None
) -> None:
    """Each output of the step repeats the same sentence."""
    machine.lay("baseline/run.json", "base")
    if content is not None:
        (machine.work / "run.json").write_text(content)
    done = machine.step("Compare")
    assert done.returncode == 2
    assert len(set(done.stderr.splitlines())) == 1
    assert done.stderr.startswith("cnnperf: run.json ")


@pytest.mark.parametrize(
    ("before", "renew", "trained", "after"),
    [
        ("base", "", "success", "base"),
        ("base", "false", "success", "base"),
        ("base", "true", "success", "slower"),
        ("base", "true", "failure", "base"),
        (None, "", "success", "slower"),
        (None, "", "failure", None),
    ],
)
def test_baseline_stays_until_renewed_by_a_run_that_passed(
    machine: Machine, before: str | None, renew: str, trained: str, after: str | None
) -> None:
    """A run with a failed case never becomes the baseline."""
    if before is not None:
        machine.lay("baseline/run.json", before)
    machine.lay("run.json", "slower")
    done = machine.step("Keep or renew the baseline", RENEW=renew, TRAINED=trained)
    assert done.returncode == 0, done.stderr
    assert kind_of(machine.work / "baseline" / "run.json") == after
