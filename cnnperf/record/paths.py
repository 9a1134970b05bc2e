"""Choose the files of a run: the record, and the journal beside it until the record is complete."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cnnperf.errors import UsageError
from cnnperf.record.journal import SUFFIX
from cnnperf.record.schema import now

STAMP = "%Y%m%d-%H%M%S"


@dataclass(frozen=True, kw_only=True)
class ResultPaths:
    """The files of one run."""

    record: Path
    journal: Path
    older_journals: tuple[Path, ...]
    """Journals of stopped runs with the same record, the latest first."""


def choose_paths(benchmark_json: Path | None, root: Path) -> ResultPaths:
    """Return the files of a run that starts now.

    Args:
        benchmark_json: the path of --benchmark-json; without it, each run gets a file in
            `root`/.cnnperf, named after the time.
        root: pytest's root folder.
    """
    base = benchmark_json.absolute() if benchmark_json else root / ".cnnperf" / "run.json"
    journal = _free_journal(base)
    record = (
        base if benchmark_json else journal.with_name(journal.name.removesuffix(SUFFIX) + ".json")
    )
    return ResultPaths(record=record, journal=journal, older_journals=tuple(_older_journals(base)))


def _free_journal(base: Path) -> Path:
    """Return a path that does not exist: no run overwrites another's journal."""
    stem = f"{base.stem}-{now().strftime(STAMP)}"
    path = base.with_name(stem + SUFFIX)
    number = 1
    while path.exists():
        number += 1
        path = base.with_name(f"{stem}-{number}{SUFFIX}")
    return path


def _older_journals(base: Path) -> list[Path]:
    pattern = re.compile(re.escape(base.stem) + r"-\d{8}-\d{6}(-\d+)?" + re.escape(SUFFIX))
    if not base.parent.is_dir():
        return []
    found = [path for path in base.parent.iterdir() if pattern.fullmatch(path.name)]
    return sorted((path for path in found if path.stat().st_size), reverse=True)


def best_journal(journals: Iterable[Path]) -> Path | None:
    """Return the journal with the most trainings.

    The newest may have fewer: a resumed run that is killed early has not copied all of them.
    """

    def trainings(path: Path) -> int:
        return path.read_bytes().count(b'"kind":"repeat"')

    return max(journals, key=trainings, default=None)


def check_record_path(path: Path) -> None:
    """Check that the record can be written, without changing an existing one.

    Raises:
        UsageError: it cannot be written.
    """
    existed = path.exists()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab"):
            pass
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror or error}; choose another place for the "
            "record with --benchmark-json"
        ) from error
    if not existed:
        path.unlink()
