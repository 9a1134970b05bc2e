"""What a record tells of the command that made it, and the command that goes on with a run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cnnperf.run.header import recorded_command, resuming_command

ARGUMENTS = (
    "/home/me/checkout/benchmarks", "-k", "vgg and not 224", "--cnnperf-data-dir", "/home/me/data",
    "--benchmark-json=/tmp/run.json", "--cnnperf-repeats=5", "--cnnperf-max-minutes=9",
    "--cnnperf-resume", "/tmp/old.jsonl",
)  # fmt: skip


def test_recorded_command_has_no_paths_of_the_machine() -> None:
    """The same words for everybody; what was resumed changes nothing of what was measured."""
    told = recorded_command(ARGUMENTS, Path("/home/me/checkout"))
    assert told == (
        "pytest benchmarks -k 'vgg and not 224' --cnnperf-data-dir=DIR --benchmark-json=FILE "
        "--cnnperf-repeats=5"
    )
    assert recorded_command([], Path("/")) == "pytest"


def test_resuming_command_replaces_the_old_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the same shell: places stay, the latest journal takes the place of the one before."""
    monkeypatch.setattr(sys, "argv", ["/usr/bin/pytest"])
    command = resuming_command(ARGUMENTS, Path("/tmp/new one.jsonl"))
    assert command == (
        "pytest /home/me/checkout/benchmarks -k 'vgg and not 224' "
        "--cnnperf-data-dir=/home/me/data --benchmark-json=/tmp/run.json --cnnperf-repeats=5 "
        "--cnnperf-max-minutes=9 '--cnnperf-resume=/tmp/new one.jsonl'"
    )
    monkeypatch.setattr(sys, "argv", ["/lib/pytest/__main__.py"])
    assert resuming_command([], Path("j")).startswith(f"{sys.executable} -m pytest --cnnperf-")
