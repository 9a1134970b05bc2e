"""The files between the launcher and its ranks: two named pipes each, and a count of messages.

A rank opens them before it imports torch.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
from collections.abc import Callable
from pathlib import Path

MARK = struct.Struct("q")


def open_rank(folder: Path, rank: int) -> int:
    """Make the launcher's pipe this process's standard input; return the one for messages."""
    job = os.open(folder / f"{rank}.in", os.O_RDONLY)
    os.dup2(job, 0)
    os.close(job)
    return os.open(folder / f"{rank}.out", os.O_WRONLY)


def create_marks(folder: Path, ranks: int) -> None:
    """Create the file in which each rank counts."""
    (folder / "marks").write_bytes(bytes(MARK.size * ranks))


def read_marks(folder: Path) -> tuple[int, ...]:
    """Return what every rank has counted."""
    return tuple(mark for (mark,) in MARK.iter_unpack((folder / "marks").read_bytes()))


def marker(folder: Path, rank: int) -> Callable[[], None]:
    """Return a function that counts one more for a rank."""
    with (folder / "marks").open("r+b") as file:
        memory = mmap.mmap(file.fileno(), 0)
    mark = ctypes.c_int64.from_buffer(memory, rank * MARK.size)

    def count() -> None:
        mark.value += 1

    return count
