"""Reading what may not be there: every probe of this package goes through `attempt`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def attempt(read: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
    """What `read` returns for these arguments, or None where it fails.

    Any exception counts: a missing file, tool, driver or permission, an unsupported platform.
    What a machine will not tell must never stop a benchmark.
    """
    try:
        return read(*args, **kwargs)
    except Exception:
        return None


def file_text(path: str) -> str | None:
    """The stripped text of a file, or None where it cannot be read or is empty."""
    text = attempt(lambda: Path(path).read_text(encoding="utf-8", errors="replace").strip())
    return text or None
