"""Read a folder of records: points of series, and sentences on what is left out.

    loaded = load_folder(Path("reports"), ["train_seconds", "test_accuracy"])
    loaded.points[0].median

DuckDB reads and queries the files. This module turns its rows into typed points and validates each
distinct environment and fingerprint once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, RootModel, ValidationError

from cnnperf.catalog.loops import Quality
from cnnperf.compare.comparability import some
from cnnperf.compare.history import queries
from cnnperf.errors import UsageError, printable
from cnnperf.machine.flags import DISTURBANCES
from cnnperf.record.environment import Environment, Settings
from cnnperf.record.files import MAX_FILE_BYTES, name_of
from cnnperf.record.fingerprint import Fingerprint, RecordedQuality
from cnnperf.record.loading import load_record
from cnnperf.record.metrics import METRICS

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

BATCH = 200
"""Files parsed in one query. DuckDB keeps up to 2,048 parsed files of one query in memory at once;
with 100 kB each, that takes 1.5 times as long."""

MAX_THREADS = 4
"""Batches parsed at once. A single query of so few rows uses only one core."""

MAX_COPIES_NAMED = 3

MAX_NAMED = 5
"""Skipped files that get a sentence; the others are only counted."""

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One metric of one case in one record."""

    case_id: str
    metric: str
    file: str
    created: datetime
    """UTC, whatever the record's time zone is."""
    environments: tuple[Environment, ...]
    """More than one if the trainings had different settings."""
    commit: str | None
    """Commit of the repository in which pytest ran."""
    dirty: bool
    fingerprint: Fingerprint | None
    shortened: bool
    steps: int
    """Steps per training."""
    interrupted: bool
    disturbed: bool
    """Whether something else disturbed the machine during a training."""
    quality: Quality | None
    """How the case declares it; None for a metric of cnnperf's."""
    n: int
    """Number of trainings; `median`, `low` (least) and `high` (greatest) are of their values."""
    median: float
    low: float
    high: float

    @property
    def is_deterministic(self) -> bool:
        """Whether any training used deterministic algorithms."""
        return any(each.settings.deterministic_algorithms for each in self.environments)


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """The records of a folder."""

    folder: Path
    records: int
    points: tuple[Point, ...]
    """Sorted by case, metric and time."""
    warnings: tuple[str, ...]
    """Sentences on files that were skipped."""
    notes: tuple[str, ...]
    """Sentences on what was read but has no point."""


def load_folder(folder: Path, metrics: Sequence[str]) -> Loaded:
    """Read every record in a folder and below it.

    Args:
        folder: where the records lie.
        metrics: names of `cnnperf.record.metrics.METRICS`.

    Raises:
        UsageError: there is no such folder, or no record in it.
    """
    import duckdb

    files, skipped, folder_warnings = _find_files(folder)
    records, points, connection = 0, list[Point](), duckdb.connect()
    if files:
        _parse(connection, files, metrics)
        connection.execute(queries.RECORDS)
        connection.execute(queries.REPEATS)
        points, invalid = _points(connection, metrics)
        skipped += [*_broken_files(connection), *invalid]
        records = len(connection.execute("SELECT file FROM records").fetchall()) - len(invalid)
    warnings = (*folder_warnings, *_skipped_files(sorted(skipped)))
    if not records:
        raise _no_record(folder, warnings, len(files))
    return Loaded(
        folder=folder,
        records=records,
        points=tuple(points),
        warnings=warnings,
        notes=tuple(_notes(connection)),
    )


def _find_files(folder: Path) -> tuple[list[str], list[str], list[str]]:
    """Find every JSON file in a folder and below it; links to folders are not followed.

    Returns:
        Files to read; files that cannot be read (pipes, without permission or too large, names that
        are not valid text); a sentence for each folder that cannot be opened. Each is sorted.

    Raises:
        UsageError: it is not a folder.
    """
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise UsageError(
            f"{name_of(folder)} {what}: name a folder of records, or compare two records with "
            "`cnnperf compare BASE NEW`"
        )
    errors: list[OSError] = []
    paths = [
        os.path.join(parent, name)  # noqa: PTH118
        for parent, _, names in os.walk(folder, onerror=errors.append)
        for name in names
        if name.endswith(".json")
    ]
    readable = set(filter(_is_readable, paths))
    warnings = [
        f"skipped: {name_of(Path(error.filename))} cannot be opened: {error.strerror}"
        for error in errors
    ]
    return sorted(readable), sorted(set(paths) - readable), sorted(warnings)


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


def _skipped_files(paths: Sequence[str]) -> Iterator[str]:
    """Yield what is wrong with the first few files, then how many more there are."""
    for path in paths[:MAX_NAMED]:
        try:
            has_cases = bool(load_record(path).cases)
        except UsageError as error:
            problem = printable(str(error))
        else:
            why = "is not plain JSON in UTF-8 (another encoding, NaN or half a character): save it"
            problem = f"{name_of(Path(path))} {f'{why} again' if has_cases else 'holds no case'}"
        yield f"skipped: {problem}"
    if (more := len(paths) - MAX_NAMED) > 0:
        files = "files that are not records" if more > 1 else "file that is not a record"
        yield f"skipped: {more:,} more {files}"


def _parse(connection: DuckDBPyConnection, files: list[str], metrics: Sequence[str]) -> None:
    """Parse all files into the table `contents`, a few batches at once."""
    select = queries.contents_of_bodies(metrics)

    def parse(batch: Sequence[str], into: str) -> None:
        with connection.cursor() as cursor:  # each cursor has its own temporary tables
            cursor.execute(queries.BODIES, {"files": list(map(_without_patterns, batch))})
            cursor.execute(f"{into} {select}")

    first, *others = (files[start : start + BATCH] for start in range(0, len(files), BATCH))
    parse(first, "CREATE TABLE contents AS")
    with ThreadPoolExecutor(max_workers=min(os.cpu_count() or 1, MAX_THREADS)) as pool:
        list(pool.map(parse, others, repeat("INSERT INTO contents")))


def _without_patterns(path: str) -> str:
    """Escape the characters that DuckDB would expand."""
    return "".join(f"[{c}]" if c in "[*?" else c for c in path)


def _no_record(folder: Path, warnings: Sequence[str], others: int) -> UsageError:
    if warnings:
        more = f" (and {len(warnings) - 1} more such)" if len(warnings) > 1 else ""
        return UsageError(f"{name_of(folder)} holds no record: {warnings[0]}{more}")
    what = f"{others} other files of cnnperf, but no record" if others else "no record"
    return UsageError(
        f"{name_of(folder)} holds {what}: put files there that `pytest benchmarks "
        "--benchmark-json=FILE` writes"
    )


def _broken_files(connection: DuckDBPyConnection) -> list[str]:
    """Return the files that are neither records nor any other file that cnnperf writes."""
    foreign = connection.execute(queries.FOREIGN).fetchall()
    if not foreign:
        return []
    files = {"files": [_without_patterns(file) for (file,) in foreign]}
    return [file for (file,) in connection.execute(queries.broken_files(), files).fetchall()]


class Qualities(RootModel[list[RecordedQuality]]):
    """What a case declares."""


class _Texts:
    """The JSON texts behind the hashes of the queries; each is validated once."""

    def __init__(self, connection: DuckDBPyConnection) -> None:
        self._texts: dict[int, str | None] = dict(connection.execute(queries.TEXTS).fetchall())
        self._models: dict[tuple[int, type[BaseModel]], BaseModel | None] = {}
        self._environments: dict[tuple[int, ...], tuple[Environment, ...]] = {}

    def model(self, key: int, kind: type[Model]) -> Model | None:
        """Return the text as a model; None if it is null.

        Raises:
            ValidationError: the text does not fit the model.
        """
        if (key, kind) not in self._models:
            text = self._texts[key] or "null"
            self._models[key, kind] = None if text == "null" else kind.model_validate_json(text)
        found = self._models[key, kind]
        assert found is None or isinstance(found, kind)
        return found

    def environments(self, key: int, settings: Sequence[int]) -> tuple[Environment, ...]:
        """Return the record's environment, once for each of the trainings' recorded settings.

        Raises:
            ValidationError: a text does not fit its model.
        """
        name = (key, *settings)
        if name not in self._environments:
            environment = self.model(key, Environment) or Environment()
            own = filter(None, (self.model(each, Settings) for each in settings))
            found = tuple(environment.model_copy(update={"settings": each}) for each in own)
            self._environments[name] = found or (environment,)
        return self._environments[name]


def _points(connection: DuckDBPyConnection, metrics: Sequence[str]) -> tuple[list[Point], set[str]]:
    """Return the points of valid files, and the files of which some part is invalid."""
    texts = _Texts(connection)
    points: list[Point] = []
    invalid: set[str] = set()
    for row in connection.execute(queries.points(metrics)).fetchall():
        try:
            points.append(_point(row, texts))
        except ValidationError:
            invalid.add(row[2])
    known = [point for point in points if point.quality or point.metric in METRICS]
    return [point for point in known if point.file not in invalid], invalid


def _point(row: tuple[Any, ...], texts: _Texts) -> Point:
    (case_id, metric, file, created, environment, commit, dirty, fingerprint, shortened, steps,
     interrupted, settings, kinds, declared, n, median, low, high) = row  # fmt: skip
    qualities = texts.model(declared, Qualities)
    return Point(
        case_id=case_id,
        metric=metric,
        file=file,
        created=EPOCH + timedelta(microseconds=created),
        environments=texts.environments(environment, settings),
        commit=commit,
        dirty=bool(dirty),
        fingerprint=texts.model(fingerprint, Fingerprint),
        shortened=shortened,
        steps=steps or 0,
        interrupted=interrupted,
        quality=next((each for each in qualities.root if each.name == metric), None)
        if qualities is not None
        else None,
        disturbed=not DISTURBANCES.isdisjoint(kinds or ()),
        n=n,
        median=median,
        low=low,
        high=high,
    )


def _notes(connection: DuckDBPyConnection) -> Iterator[str]:
    copies = [name_of(Path(file)) for (file,) in connection.execute(queries.COPIES).fetchall()]
    if copies:
        yield (
            f"counted once: another file has every training of {some(copies, MAX_COPIES_NAMED)} "
            "too, because it is a copy or a resumed run"
        )
    for case_id, outcome, count, last in connection.execute(queries.FAILURES).fetchall():
        yield (
            f"no figures: {printable(case_id)} {printable(outcome)} in {count:,} "
            f"record{'s' if count > 1 else ''}, last in {name_of(Path(last))}"
        )
