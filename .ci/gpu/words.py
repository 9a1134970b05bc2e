"""Shared by all parts of this tool: the checkout's path, exit codes, and output."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO

ROOT = Path(__file__).absolute().parents[2]

DONE, FAILED, USAGE, AGAIN = 0, 1, 2, 75
"""AGAIN is EX_TEMPFAIL of sysexits.h, as in `pytest benchmarks --cnnperf-max-minutes`."""
FELL_BACK = -1
"""Outcome of a step whose engine `fast` fell back; the exit code is FAILED."""


def say(text: str, code: int = 0, log: IO[str] | None = None) -> int:
    """Print a line, also into the log if given, and return the exit code."""
    sys.stdout.write(f"gpu: {text}\n")
    sys.stdout.flush()
    if log is not None:
        log.write(f"gpu: {text}\n")
    return code
