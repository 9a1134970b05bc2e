"""Exit codes of real processes whose output nobody reads, has no room, or that are interrupted.

0, 1, 3 and 4 are verdicts: none of them may come about by accident.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cnnperf.report.formats.comparison import Format
from cnnperf.report.terminal.console import EXIT_INTERRUPTED, EXIT_NO_READER
from tests.commands import run_cnnperf
from tests.examples import (
    example_case_record,
    example_record,
    example_repeat,
    plain_terminal,
    write_record,
)

FULL = Path("/dev/full")


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    plain_terminal(monkeypatch)


def _write(path: Path, factor: float) -> str:
    times = [factor * time for time in (10.0, 10.05, 9.95)]
    repeats = [
        example_repeat(seed, time, images_per_second=480_000 / time)
        for seed, time in enumerate(times)
    ]
    record = example_record(example_case_record(repeats=repeats))
    return str(write_record(path, json.loads(record.model_dump_json())))


@pytest.fixture
def base(tmp_path: Path) -> str:
    """Steady repeats."""
    return _write(tmp_path / "base.json", 1.0)


@pytest.fixture
def slower(tmp_path: Path) -> str:
    """The same, a fifth slower."""
    return _write(tmp_path / "slower.json", 1.2)


def _without_reader(*arguments: str) -> tuple[int, str]:
    """Exit code and what is said, of a command whose reader has gone before it writes."""
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "cnnperf.cli", *arguments],
            stdout=write, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    finally:
        os.close(write)
    return done.returncode, done.stderr


def _onto_a_full_disk(*arguments: str) -> tuple[int, str]:
    with FULL.open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "cnnperf.cli", *arguments],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    return done.returncode, done.stderr


@pytest.mark.parametrize("form", Format)
def test_a_reader_that_stops_early_changes_no_verdict(base: str, slower: str, form: Format) -> None:
    """It neither makes a regression nor hides one: `cnnperf compare ... | head -1`."""
    assert _without_reader("compare", base, base, "-f", form) == (0, "")
    assert _without_reader("compare", base, slower, "-f", form) == (1, "")


@pytest.mark.parametrize("arguments", [["list"], ["--help"], ["compare", "-h"], ["schema"]])
def test_without_a_reader_other_commands_end_as_by_sigpipe(arguments: list[str]) -> None:
    """As a shell has it of `cat` and `ls`; silently."""
    assert _without_reader(*arguments) == (EXIT_NO_READER, "")


def test_export_without_a_reader_fails(base: str) -> None:
    """What was to be read is not there."""
    assert _without_reader("export", base, "--to", "bencher") == (EXIT_NO_READER, "")


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("form", Format)
def test_a_full_disk_is_a_sentence(base: str, slower: str, form: Format) -> None:
    """And neither verdict: what was to be kept is lost."""
    expected = (2, "cnnperf: the output cannot be written: No space left on device\n")
    for new in (base, slower):
        assert _onto_a_full_disk("compare", base, new, "-f", form) == expected
    assert _onto_a_full_disk("export", base, "--to", "bencher") == expected
    assert _onto_a_full_disk("--help") == expected


INTERRUPTED = """
import os, signal, sys
from cnnperf import cli
from cnnperf.report.terminal import console
from cnnperf.compare import inputs as side

def load_side(paths):
    os.kill(os.getpid(), signal.SIGINT)

side.load_side = load_side
sys.argv = ["cnnperf", *sys.argv[1:]]
cli.main()
"""
"""Somebody presses Ctrl-C while the records are read."""


def test_ctrl_c_exits_with_130(base: str) -> None:
    """Whatever the records would have come to."""
    command = [sys.executable, "-c", INTERRUPTED, "compare", base, base]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (EXIT_INTERRUPTED, "", "")


def test_bad_usage_exits_with_2_without_a_reader(base: str) -> None:
    """Whoever reads it."""
    assert _without_reader("compare", base, "none.json")[0] == 2
    assert run_cnnperf("compare", base).returncode == 2


def test_a_closed_standard_output_changes_no_verdict(base: str, slower: str) -> None:
    """As `>&-` leaves it: Python then has none at all."""
    for new, code in ((base, 0), (slower, 1)):
        command = f'"$0" -m cnnperf.cli compare "{base}" "{new}" >&-'
        done = subprocess.run(["sh", "-c", command, sys.executable], check=False)
        assert done.returncode == code
