"""Read a file that may be anything: missing, a pipe, a device, or too large for the memory.

    content = read_file(Path("cnnperf.toml"))

Every problem ends in a `UsageError` of one line, which names the file.
"""

from __future__ import annotations

import difflib
import os
import stat
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from cnnperf.errors import UsageError, printable
from cnnperf.record.metrics import format_bytes

MAX_FILE_BYTES = 512 * 2**20
"""A record of 10,000 trainings takes some 35 MB. JSON takes several times its size in memory, so
the kernel would kill the process that reads a much larger file."""

P = ParamSpec("P")
R = TypeVar("R")
AnyPath = TypeVar("AnyPath", bound=Path | str)


def naming_what_is_too_much(
    read: Callable[Concatenate[AnyPath, P], R],
) -> Callable[Concatenate[AnyPath, P], R]:
    """Make a reader of a file say which file is too large for the memory, or nested too deeply."""

    @wraps(read)
    def reader(path: AnyPath, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return read(path, *args, **kwargs)
        except MemoryError:
            problem = "needs more memory than there is: split it, or free some memory"
        except RecursionError:
            problem = "is nested too deeply: nothing that cnnperf reads is"
        raise UsageError(f"{name_of(Path(path))} {problem}")

    return reader


def read_file(
    path: Path,
    most_bytes: int = MAX_FILE_BYTES,
    advice: str = "split a record into several files, which `cnnperf compare` takes together",
) -> bytes:
    """Return a file's content.

    Args:
        path: the file.
        most_bytes: the largest size; by default, larger than any record that cnnperf writes.
        advice: what to do with a larger file.

    Raises:
        UsageError: it cannot be read, is no regular file (a pipe may never end), or is too large.
    """
    try:
        found = path.stat()
        if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
            raise UsageError(
                f"{name_of(path)} is a pipe or a device, expected a file: save its output to a "
                "file and name that"
            )
        size, content = found.st_size, b""
        if size <= most_bytes:
            with open(path, "rb", opener=_open_without_waiting) as file:
                content = file.read(size + 1) or b""
                if len(content) > size:  # it grows, or the kernel makes it up
                    content += file.read(most_bytes + 1 - len(content)) or b""
        if (size := max(size, len(content))) > most_bytes:
            raise UsageError(
                f"{name_of(path)} has {format_bytes(size)}, expected at most "
                f"{format_bytes(most_bytes)}: {advice}"
            )
    except OSError as error:
        near = _nearest(path) if isinstance(error, FileNotFoundError) else ""
        raise UsageError(
            f"{name_of(path)} cannot be read: {error.strerror or error}{near}"
        ) from error
    return content


def _open_without_waiting(path: str, flags: int) -> int:
    """Open a file of which the kernel may make up the content, such as its log, and may wait."""
    return os.open(path, flags | os.O_NONBLOCK)


def _nearest(path: Path) -> str:
    """Return the file in the same folder with the most similar name, as a question."""
    try:
        names = [each.name for each in path.absolute().parent.iterdir() if each.is_file()]
    except OSError:
        return ""
    near = difflib.get_close_matches(path.name, names, n=1)
    return f" (did you mean {name_of(path.with_name(near[0]))}?)" if near else ""


def name_of(path: Path) -> str:
    """Return a path as one safe line: its text, too, may come from elsewhere."""
    return printable(str(path))
