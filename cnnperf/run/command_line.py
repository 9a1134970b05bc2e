"""The command line of a run: as its record stores it, and as the command that continues it."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

PATH_OPTIONS = {
    "--benchmark-json": "FILE",
    "--cnnperf-baseline": "FILE",
    "--cnnperf-data-dir": "DIR",
    "--cnnperf-profile": "DIR",
    "--cnnperf-python": "PYTHON",
    "--junitxml": "FILE",
    "--junit-xml": "FILE",
    "--rootdir": "DIR",
}
"""Options with a path of this machine, and the word that replaces it in a record."""

UNRECORDED_OPTIONS = ("--cnnperf-resume", "--cnnperf-max-minutes")
"""Options that do not change what is measured; a record leaves them out."""


def recorded_command(arguments: Sequence[str], folder: Path) -> str:
    """Return the command of a run for its record, without paths of this machine.

    >>> recorded_command(["benchmarks", "--cnnperf-data-dir", "/home/me/data"], Path("/"))
    'pytest benchmarks --cnnperf-data-dir=DIR'
    """
    parts = []
    for name, value in _options(arguments):
        if name in UNRECORDED_OPTIONS:
            continue
        if value is None:
            parts.append(_without_place(name, folder))
        else:
            parts.append(f"{name}={PATH_OPTIONS.get(name, value)}")
    return shlex.join(["pytest", *parts])


def resuming_command(arguments: Sequence[str], journal: Path) -> str:
    """Return the command that continues a stopped run, ready for the same shell."""
    parts = [
        name if value is None else f"{name}={value}"
        for name, value in _options(arguments)
        if name != "--cnnperf-resume"
    ]
    return shlex.join([*_program(), *parts, f"--cnnperf-resume={journal}"])


def resume_command(arguments: Sequence[str], folder: Path) -> str:
    """Return the `cnnperf` command that continues a stopped one, ready for the same shell.

    >>> resume_command(["calibrate", "--out", "aa", "--max-minutes=9"], Path("aa"))
    'cnnperf calibrate --max-minutes=9 --resume=aa'
    """
    kept, rest = [], iter(arguments)
    for argument in rest:
        name, equals, _ = argument.partition("=")
        if name not in ("--out", "--resume"):
            kept.append(argument)
        elif not equals:
            next(rest, None)
    return shlex.join(["cnnperf", *kept, f"--resume={folder}"])


def _program() -> list[str]:
    """Return how this process was started: as `pytest`, or through an interpreter."""
    name = Path(sys.argv[0]).name
    return ["pytest"] if name in ("pytest", "py.test") else [sys.executable, "-m", "pytest"]


def _options(arguments: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Yield known options with their values, and every other argument with None."""
    rest = iter(arguments)
    for argument in rest:
        name, equals, value = argument.partition("=")
        if name in PATH_OPTIONS or name in UNRECORDED_OPTIONS:
            yield name, value if equals else next(rest, "")
        else:
            yield argument, None


def _without_place(argument: str, folder: Path) -> str:
    """Return an absolute path relative to the folder in which the run was started."""
    return os.path.relpath(argument, folder) if Path(argument).is_absolute() else argument
