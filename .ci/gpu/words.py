"""What all parts of this tool share: where the checkout is, exit codes, and how it talks."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO

ROOT = Path(__file__).absolute().parents[2]

DONE, FAILED, USAGE, AGAIN = 0, 1, 2, 75
"""The last is EX_TEMPFAIL of sysexits.h, as `pytest benchmarks --cnnperf-max-minutes` has it."""


def say(text: str, code: int = 0, log: IO[str] | None = None) -> int:
    """A line of our own; hands the exit code on."""
    sys.stdout.write(f"gpu: {text}\n")
    sys.stdout.flush()
    if log is not None:
        log.write(f"gpu: {text}\n")
    return code
