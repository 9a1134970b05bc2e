"""Where a run's results lie: the record, and the journal beside it while it is not whole.

That both can be written is found out before anything is trained.
"""

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
    """Left by stopped runs with the same record, the latest first."""


def choose_paths(benchmark_json: Path | None, root: Path) -> ResultPaths:
    """The files of a run that starts now.

    Args:
        benchmark_json: what --benchmark-json says; without it, results go to `root`/.cnnperf under
            the time of day, so that none replaces another.
        root: pytest's root folder.
    """
    base = benchmark_json.absolute() if benchmark_json else root / ".cnnperf" / "run.json"
    journal = _free_journal(base)
    record = (
        base if benchmark_json else journal.with_name(journal.name.removesuffix(SUFFIX) + ".json")
    )
    return ResultPaths(record=record, journal=journal, older_journals=tuple(_older_journals(base)))


def _free_journal(base: Path) -> Path:
    """A name of its own for each run, so that no run overwrites another's journal."""
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
    """That with the most trainings: a run that was killed early has not copied all of them."""

    def trainings(path: Path) -> int:
        return path.read_bytes().count(b'"kind":"repeat"')

    return max(journals, key=trainings, default=None)


def check_record_path(path: Path) -> None:
    """Make sure that the record can be written, without touching one that is there.

    Raises:
        UsageError: it cannot.
    """
    existed = path.exists()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab"):
            pass
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror or error}; the record goes there, so "
            "choose another place with --benchmark-json"
        ) from error
    if not existed:
        path.unlink()
