"""Reading a folder of records: points of series, and sentences on what is left out.

    loaded = load_folder(Path("reports"), ["train_seconds", "test_accuracy"])
    loaded.points[0].median

Torch-free. DuckDB reads and queries the files; here its rows become typed, and of the few different
environments and fingerprints each is checked once.
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

from pydantic import BaseModel, ValidationError

from cnnperf.compare.history import queries
from cnnperf.compare.history.files import find_files, sentences_on
from cnnperf.errors import UsageError, printable
from cnnperf.machine.flags import DISTURBANCES
from cnnperf.record.environment import Environment, Settings
from cnnperf.record.loading import name_of
from cnnperf.record.schema import Fingerprint

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

BATCH = 200
"""Files that are parsed at a time. DuckDB holds as many parsed at once as a query gives it, up to
2,048: of 100 kB each they fill more memory than is quick, and take 1.5 times as long."""

MAX_THREADS = 4
"""Batches that are parsed at once: a query of so few rows would keep but one core busy."""

MAX_COPIES_NAMED = 3

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One metric of one case in one record."""

    case_id: str
    metric: str
    file: str
    created: datetime
    """In UTC, whatever the record's own time zone."""
    environments: tuple[Environment, ...]
    """The record's; more than one where its trainings had different settings."""
    commit: str | None
    """Of the repository in which pytest ran."""
    dirty: bool
    fingerprint: Fingerprint | None
    shortened: bool
    steps: int
    """Of a training."""
    interrupted: bool
    disturbed: bool
    """Whether something else disturbed the machine during a training."""
    n: int
    """Trainings."""
    median: float
    low: float
    high: float
    """The greatest of the trainings' values, `low` the least."""


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """What a folder holds."""

    folder: Path
    records: int
    points: tuple[Point, ...]
    """By case, metric and time."""
    warnings: tuple[str, ...]
    """Sentences on files that were passed over."""
    notes: tuple[str, ...]
    """Sentences on what was read and is not shown."""


def load_folder(folder: Path, metrics: Sequence[str]) -> Loaded:
    """Read every record in a folder and below it.

    Args:
        folder: where the records lie.
        metrics: names of `cnnperf.record.metrics.METRICS`.

    Raises:
        UsageError: there is no such folder, or no record in it.
    """
    import duckdb

    found = find_files(folder)
    connection = duckdb.connect()
    broken = list(found.odd)
    if found.files:
        _read(connection, list(map(_literally, found.files)), metrics)
        connection.execute(queries.RECORDS)
        connection.execute(queries.REPEATS)
        broken += _broken(connection)
        texts = _Texts(connection)
        points, unfit = _points(connection, texts, metrics)
        broken += unfit
        records = _count(connection) - len(unfit)
    warnings = (*found.folders, *sentences_on(sorted(broken)))
    if not found.files or not records:
        raise _nothing(folder, warnings, len(found.files) - len(broken))
    return Loaded(
        folder=folder,
        records=records,
        points=tuple(points),
        warnings=warnings,
        notes=tuple(_notes(connection)),
    )


def _read(connection: DuckDBPyConnection, files: list[str], metrics: Sequence[str]) -> None:
    """Parse all files into the table `contents`, a few batches at once."""
    batches = [files[start : start + BATCH] for start in range(0, len(files), BATCH)]
    select = queries.contents_of_bodies(metrics)

    def read(batch: list[str], into: str) -> None:
        with connection.cursor() as cursor:  # with temporary tables of its own
            cursor.execute(queries.BODIES, {"files": batch})
            cursor.execute(f"{into} {select}")

    read(batches[0], "CREATE TABLE contents AS")
    with ThreadPoolExecutor(max_workers=min(os.cpu_count() or 1, MAX_THREADS)) as pool:
        list(pool.map(read, batches[1:], repeat("INSERT INTO contents")))


def _literally(path: str) -> str:
    """A path in which DuckDB finds no pattern."""
    return "".join(f"[{c}]" if c in "[*?" else c for c in path)


def _nothing(folder: Path, warnings: Sequence[str], others: int) -> UsageError:
    """Names the first problem, where there is one."""
    if warnings:
        more = f" (and {len(warnings) - 1} more such)" if len(warnings) > 1 else ""
        return UsageError(f"{name_of(folder)} holds no record: {warnings[0]}{more}")
    what = f"{others} files that cnnperf wrote, but no record" if others > 0 else "no record"
    return UsageError(
        f"{name_of(folder)} holds {what}: keep the files there that `pytest benchmarks "
        "--benchmark-json=FILE` writes, one a run"
    )


def _broken(connection: DuckDBPyConnection) -> list[str]:
    foreign = [file for (file,) in connection.execute(queries.FOREIGN).fetchall()]
    if not foreign:
        return []
    paths = {"files": list(map(_literally, foreign))}
    return [file for (file,) in connection.execute(queries.broken_files(), paths).fetchall()]


def _count(connection: DuckDBPyConnection) -> int:
    (count,) = connection.execute("SELECT count(*) FROM records").fetchall()[0]
    return int(count)


class _Texts:
    """What the hashes of the query stand for, each text checked once."""

    def __init__(self, connection: DuckDBPyConnection) -> None:
        self._texts: dict[int, str | None] = dict(connection.execute(queries.TEXTS).fetchall())
        self._models: dict[tuple[int, type[BaseModel]], BaseModel | None] = {}
        self._environments: dict[tuple[int, tuple[int, ...]], tuple[Environment, ...] | None] = {}

    def model(self, key: int, kind: type[Model]) -> Model | None:
        """The text as a model; its defaults where it is null.

        Raises:
            ValidationError: it does not fit.
        """
        if (key, kind) not in self._models:
            text = self._texts[key]
            is_absent = text is None or text == "null"
            self._models[key, kind] = None if is_absent else kind.model_validate_json(text or "")
        found = self._models[key, kind]
        assert found is None or isinstance(found, kind)
        return found

    def environments(self, key: int, settings: Sequence[int]) -> tuple[Environment, ...]:
        """The record's environment with the settings of the trainings, where they were recorded.

        Raises:
            ValidationError: it does not fit.
        """
        name = (key, tuple(settings))
        if (known := self._environments.get(name)) is None:
            environment = self.model(key, Environment) or Environment()
            own = filter(None, (self.model(each, Settings) for each in settings))
            known = tuple(environment.model_copy(update={"settings": each}) for each in own)
            self._environments[name] = known = known or (environment,)
        return known


def _points(
    connection: DuckDBPyConnection, texts: _Texts, metrics: Sequence[str]
) -> tuple[list[Point], set[str]]:
    """The points, and the files of which something does not fit: nothing of them is used."""
    points: list[Point] = []
    unfit: set[str] = set()
    for row in connection.execute(queries.points(metrics)).fetchall():
        try:
            points.append(_point(row, texts))
        except ValidationError:
            unfit.add(row[2])
    return [point for point in points if point.file not in unfit], unfit


def _point(row: tuple[Any, ...], texts: _Texts) -> Point:
    (case_id, metric, file, created, environment, commit, dirty, fingerprint, shortened, steps,
     interrupted, settings, kinds, n, median, low, high) = row  # fmt: skip
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
        disturbed=not DISTURBANCES.isdisjoint(kinds or ()),
        n=n,
        median=median,
        low=low,
        high=high,
    )


def _notes(connection: DuckDBPyConnection) -> Iterator[str]:
    copies = [name_of(Path(file)) for (file,) in connection.execute(queries.COPIES).fetchall()]
    if copies:
        more = len(copies) - MAX_COPIES_NAMED
        names = ", ".join(copies[:MAX_COPIES_NAMED]) + (f" and {more:,} more" if more > 0 else "")
        yield (
            f"counted once: every training of {names} stands in another file, too: a copy, or a "
            "run that was resumed"
        )
    for case_id, outcome, count, last in connection.execute(queries.FAILURES).fetchall():
        yield (
            f"without figures: {printable(case_id)} {printable(outcome)} in {count:,} "
            f"record{'s' if count > 1 else ''}, the last of them {name_of(Path(last))}"
        )
