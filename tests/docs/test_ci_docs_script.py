"""The script that docs/ci.md offers for any other server."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from tests.docs.ci_machine import Machine, kind_of
from tests.docs.ci_page import SCRIPT
from tests.examples import (
    plain_terminal,
)


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    plain_terminal(monkeypatch)


@pytest.fixture
def server(tmp_path: Path) -> Machine:
    """One whose jobs call the script; its store has a baseline."""
    made = Machine(tmp_path, {"CNNPERF_STORE": str(tmp_path / "store")})
    made.lay("../store/run.json", "base")
    return made


def _baseline(server: Machine) -> Path:
    return server.folder / "store" / "run.json"


@pytest.mark.parametrize(
    ("kind", "code"), [("same", 0), ("slower", 1), ("less accurate", 1), ("other torch", 3)]
)
def test_the_script_ends_with_the_verdict(server: Machine, kind: str, code: int) -> None:
    """Leaves what a server collects, and the baseline as it was."""
    record = server.lay("../prepared.json", kind)
    done = server.run(SCRIPT, STUB_RECORD=record)
    assert (done.returncode, done.stderr) == (code, "")
    results = server.work / "benchmark-results"
    assert {file.name for file in results.iterdir()} == {"run.json", "summary.md", "junit.xml"}
    assert "modified_vgg-mnist-28-eager" in (results / "summary.md").read_text()
    assert kind_of(_baseline(server)) == "base"


@pytest.mark.parametrize(
    ("before", "arguments", "trained", "code", "after"),
    [
        (None, (), 0, 0, "slower"),
        (None, (), 1, 1, None),
        ("base", ("--renew",), 0, 0, "slower"),
        ("base", ("--renew",), 1, 1, "base"),
    ],
)
def test_the_script_makes_a_baseline_where_it_should(
    server: Machine,
    before: str | None,
    arguments: tuple[str, ...],
    trained: int,
    code: int,
    after: str | None,
) -> None:
    """Of a run in which every case passed."""
    if before is None:
        _baseline(server).unlink()
    record = server.lay("../prepared.json", "slower")
    done = server.run(SCRIPT, *arguments, STUB_RECORD=record, STUB_CODE=str(trained))
    assert (done.returncode, done.stderr) == (code, "")
    assert kind_of(_baseline(server)) == after


def test_a_failed_case_that_the_baseline_has_not_fails_the_script(server: Machine) -> None:
    """The comparison alone would not see it."""
    record = server.lay("../prepared.json", "same")
    assert server.run(SCRIPT, STUB_RECORD=record, STUB_CODE="1").returncode == 1


@pytest.mark.parametrize("code", [2, 4, 5])
def test_a_run_that_did_not_come_to_its_end_is_not_judged(server: Machine, code: int) -> None:
    """Interrupted, called wrongly, or without a case."""
    server.lay("benchmark-results/run.json", "same")
    done = server.run(SCRIPT, STUB_CODE=str(code))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"training stopped with {code}; ")


def test_two_jobs_never_share_the_gpu(server: Machine) -> None:
    """The second waits, and gives up without having trained."""
    with (server.folder / "store" / "gpu.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = server.run(SCRIPT, CNNPERF_WAIT_SECONDS="0")
    assert done.returncode == 2
    assert done.stderr.startswith("the GPU is still busy: ")
    assert server.log.read_text() == ""
