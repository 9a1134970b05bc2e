"""Read a value that may not exist: all reading in this package goes through `attempt`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def attempt(read: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
    """Return what `read` returns for these arguments, or None where it raises any exception.

    A missing file, tool, driver or permission must never stop a benchmark.
    """
    try:
        return read(*args, **kwargs)
    except Exception:
        return None


def file_text(path: str) -> str | None:
    """Return the stripped text of a file, or None where it cannot be read or is empty."""
    text = attempt(lambda: Path(path).read_text(encoding="utf-8", errors="replace").strip())
    return text or None
