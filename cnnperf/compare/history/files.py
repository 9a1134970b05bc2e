"""Find the files in a folder that may be records, and explain why others are skipped."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from cnnperf.errors import UsageError, printable
from cnnperf.record.loading import MAX_FILE_BYTES, load_record, name_of

MAX_NAMED = 5
"""Skipped files that get a sentence; the others are only counted."""


class FoundFiles(NamedTuple):
    """JSON files of a folder, each list sorted."""

    readable: list[str]
    unreadable: list[str]
    """Pipes, files without permission or too large, names that are not valid text."""
    folder_warnings: list[str]
    """A sentence for each folder that cannot be opened."""


def find_files(folder: Path) -> FoundFiles:
    """Find every JSON file in a folder and below it; links to folders are not followed.

    Raises:
        UsageError: it is not a folder.
    """
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise UsageError(
            f"{name_of(folder)} {what}: name a folder of records, or compare two records with "
            "`cnnperf compare BASE NEW`"
        )
    readable: list[str] = []
    unreadable: list[str] = []
    errors: list[OSError] = []
    for parent, _, names in os.walk(folder, onerror=errors.append):
        for name in names:
            if name.endswith(".json"):
                path = os.path.join(parent, name)  # noqa: PTH118
                (readable if _is_readable(path) else unreadable).append(path)
    warnings = [
        f"skipped: {name_of(Path(error.filename))} cannot be opened: {error.strerror}"
        for error in errors
    ]
    return FoundFiles(sorted(readable), sorted(unreadable), sorted(warnings))


def _is_readable(path: str) -> bool:
    try:
        path.encode()
        return (
            os.path.isfile(path)  # noqa: PTH113
            and os.access(path, os.R_OK)
            and os.path.getsize(path) <= MAX_FILE_BYTES  # noqa: PTH202
        )
    except (OSError, UnicodeEncodeError):
        return False


def skipped_files(paths: Sequence[str]) -> Iterator[str]:
    """Yield what is wrong with the first few files, then how many more there are."""
    for path in paths[:MAX_NAMED]:
        yield f"skipped: {_problem(path)}"
    if (more := len(paths) - MAX_NAMED) > 0:
        files = "files that are not records" if more > 1 else "file that is not a record"
        yield f"skipped: {more:,} more {files}"


def _problem(path: str) -> str:
    try:
        load_record(path)
    except UsageError as error:
        return printable(str(error))
    return f"{name_of(Path(path))} is not plain JSON in UTF-8: save it again in that encoding"
