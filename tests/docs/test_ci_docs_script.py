"""The script of docs/ci.md for any other CI server."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from tests.docs.ci_machine import Machine, kind_of
from tests.docs.ci_page import SCRIPT
from tests.examples import plain_terminal


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    plain_terminal(monkeypatch)


@pytest.fixture
def server(tmp_path: Path) -> Machine:
    """Return a machine whose store has a baseline."""
    made = Machine(tmp_path, {"CNNPERF_STORE": str(tmp_path / "store")})
    made.lay("../store/run.json", "base")
    return made


def _baseline(server: Machine) -> Path:
    return server.folder / "store" / "run.json"


@pytest.mark.parametrize(
    ("kind", "code"), [("same", 0), ("slower", 1), ("less accurate", 1), ("other torch", 3)]
)
def test_script_ends_with_the_exit_code_of_the_comparison(
    server: Machine, kind: str, code: int
) -> None:
    """It leaves the files to collect, and does not change the baseline."""
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
def test_script_records_a_baseline_only_if_every_case_passed(
    server: Machine,
    before: str | None,
    arguments: tuple[str, ...],
    trained: int,
    code: int,
    after: str | None,
) -> None:
    """It does so without a baseline and with --renew."""
    if before is None:
        _baseline(server).unlink()
    record = server.lay("../prepared.json", "slower")
    done = server.run(SCRIPT, *arguments, STUB_RECORD=record, STUB_CODE=str(trained))
    assert (done.returncode, done.stderr) == (code, "")
    assert kind_of(_baseline(server)) == after


def test_failed_case_without_a_baseline_fails_the_script(server: Machine) -> None:
    """The comparison alone would not show a case that the baseline lacks."""
    record = server.lay("../prepared.json", "same")
    assert server.run(SCRIPT, STUB_RECORD=record, STUB_CODE="1").returncode == 1


@pytest.mark.parametrize("code", [2, 4, 5])
def test_incomplete_run_is_not_compared(server: Machine, code: int) -> None:
    """Pytest was interrupted, called wrongly, or found no case."""
    server.lay("benchmark-results/run.json", "same")
    done = server.run(SCRIPT, STUB_CODE=str(code))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"pytest ended with {code}; ")


def test_second_job_waits_for_the_gpu_and_gives_up(server: Machine) -> None:
    """It ends with 2 and does not train."""
    with (server.folder / "store" / "gpu.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = server.run(SCRIPT, CNNPERF_WAIT_SECONDS="0")
    assert done.returncode == 2
    assert done.stderr.startswith("the GPU is busy: ")
    assert server.log.read_text() == ""
