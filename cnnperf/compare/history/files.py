"""Which files of a folder may be records, and what is said of those that are none.

Torch-free.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cnnperf.errors import UsageError, printable
from cnnperf.record.loading import MAX_FILE_BYTES, load_record, name_of

MAX_NAMED = 5
"""Files of which it is said what is wrong; the others are counted."""

ENDING = ".json"


@dataclass(frozen=True, kw_only=True)
class Found:
    """What lies in a folder."""

    files: tuple[str, ...]
    """That can be read, sorted."""
    odd: tuple[str, ...]
    """That cannot: pipes, what is far too large, names that are no text."""
    folders: tuple[str, ...] = ()
    """A sentence for each that cannot be looked into."""


def find_files(folder: Path) -> Found:
    """Every JSON file in a folder and below it; links to folders are not followed.

    Raises:
        UsageError: the folder is none, or cannot be looked into.
    """
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise UsageError(
            f"{name_of(folder)} {what}, expected a folder of records; two records are compared by "
            "`cnnperf compare BASE NEW`"
        )
    files: list[str] = []
    odd: list[str] = []
    unreadable: list[OSError] = []
    for parent, folders, names in os.walk(folder, onerror=unreadable.append):
        folders.sort()
        paths = (os.path.join(parent, name) for name in names if name.endswith(ENDING))  # noqa: PTH118
        for path in paths:
            (files if _can_be_read(path) else odd).append(path)
    sentences = tuple(
        f"{name_of(Path(error.filename))} cannot be looked into: {error.strerror}"
        for error in unreadable
    )
    return Found(files=tuple(sorted(files)), odd=tuple(sorted(odd)), folders=sentences)


def _can_be_read(path: str) -> bool:
    try:
        path.encode()
        return (
            os.path.isfile(path)  # noqa: PTH113
            and os.access(path, os.R_OK)
            and os.path.getsize(path) <= MAX_FILE_BYTES  # noqa: PTH202
        )
    except (OSError, UnicodeEncodeError):
        return False


def sentences_on(broken: Sequence[str]) -> Iterable[str]:
    """What is wrong with the first few files, and how many others there are."""
    for path in broken[:MAX_NAMED]:
        yield _sentence(path)
    if (more := len(broken) - MAX_NAMED) > 0:
        yield f"passed over: {more:,} more that {'are no records' if more > 1 else 'is no record'}"


def _sentence(path: str) -> str:
    try:
        load_record(path)
    except UsageError as error:
        return f"passed over: {printable(str(error))}"
    return (
        f"passed over: {name_of(Path(path))} is not JSON in UTF-8 as cnnperf writes it: save it "
        "anew with that encoding"
    )
