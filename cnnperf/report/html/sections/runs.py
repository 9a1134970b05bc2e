"""The runs on a page, their cases, and the columns and cells of tables about them."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import compress, count
from pathlib import Path

from cnnperf.compare.inputs import Side
from cnnperf.errors import printable
from cnnperf.record.environment import Environment
from cnnperf.record.metrics import ABSENT, METRICS
from cnnperf.record.schema import CaseRecord, Record, Repeat
from cnnperf.report.html.content import Cell, Column, Row, Table, number_columns, text_columns

MAX_SLUG_CHARS = 60


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run on a page: a record, or several that are pooled."""

    label: str
    """`base` or `new`; `run` where it is alone."""
    name: str
    """Name of its file, as short as the two can be told apart."""
    record: Record
    """All cases of the run; environment of the first file."""
    files: tuple[str, ...] = ()
    environments: tuple[Environment, ...] = ()

    @cached_property
    def cases(self) -> dict[str, CaseRecord]:
        """Cases by id, in the order of the record."""
        return {case.id: case for case in self.record.cases}


CaseSide = tuple[Run, CaseRecord]


def runs_of(sides: Sequence[Side]) -> list[Run]:
    """Return one run, or base and new."""
    labels = ("run",) if len(sides) == 1 else ("base", "new")
    paths = [Path(side.files[0]) for side in sides]
    names = [path.name for path in paths]
    if len(set(names)) < len(names):
        names = [path.as_posix() for path in paths]
    return [
        Run(
            label=label,
            name=printable(name) + (f" and {len(side.files) - 1} more" if side.files[1:] else ""),
            record=_pooled(side),
            files=tuple(map(printable, side.files)),
            environments=tuple(side.environments),
        )
        for label, name, side in zip(labels, names, sides, strict=True)
    ]


def _pooled(side: Side) -> Record:
    return side.records[0].model_copy(
        update={
            "created": min(record.created for record in side.records),
            "interrupted": any(record.interrupted for record in side.records),
            "cases": list(side.cases.values()),
        }
    )


def case_ids(runs: Iterable[Run]) -> list[str]:
    """Return each case once, in base's order, then cases that only new has."""
    return list(dict.fromkeys(case.id for run in runs for case in run.record.cases))


def slugs(ids: Iterable[str]) -> dict[str, str]:
    """Return a unique name of lower-case letters, digits and dashes for each id.

    >>> slugs(["modified_vgg-mnist-28-fast", "<b>", "<i>"])["<b>"]
    'b'
    """
    found: dict[str, str] = {}
    taken: set[str] = set()
    numbers: dict[str, Iterator[int]] = {}
    for case_id in dict.fromkeys(ids):
        words = re.findall(r"[a-z0-9]+", case_id.lower())
        stem = "-".join(words)[:MAX_SLUG_CHARS].strip("-") or "case"
        each = numbers.setdefault(stem, count(1))
        candidates = (stem + f"-{number}" * (number > 1) for number in each)
        found[case_id] = next(slug for slug in candidates if slug not in taken)
        taken.add(found[case_id])
    return found


MAX_DRAWN = 100
"""Cases with figures and with a row for each training; drawing one takes up to 0.1 s."""


def with_cases(runs: Iterable[Run], ids: Iterable[str]) -> list[Run]:
    """Return the runs with these cases, in this order."""
    ids = list(ids)
    return [
        replace(
            run,
            record=run.record.model_copy(
                update={"cases": [run.cases[each] for each in ids if each in run.cases]}
            ),
        )
        for run in runs
    ]


def sides_of(runs: Sequence[Run], case_id: str) -> list[CaseSide]:
    """Return a case as each run that has it has it."""
    return [(run, run.cases[case_id]) for run in runs if case_id in run.cases]


def all_sides(runs: Sequence[Run]) -> Iterator[CaseSide]:
    """Yield every case of every run, with a case's base and new next to each other."""
    for case_id in case_ids(runs):
        yield from sides_of(runs, case_id)


def all_repeats(runs: Sequence[Run]) -> Iterator[tuple[Run, CaseRecord, Repeat]]:
    """Yield every training."""
    for run, case in all_sides(runs):
        for repeat in case.repeats:
            yield run, case, repeat


def median_of(values: Iterable[float | None]) -> float | None:
    """Return the median of the values that are not None."""
    present = [value for value in values if value is not None]
    return statistics.median(present) if present else None


# --- tables -------------------------------------------------------------------------------------


def key_columns(runs: Sequence[Run]) -> list[Column]:
    """Return the first columns of every table of cases."""
    return text_columns(case="case", **({"run": "run"} if len(runs) > 1 else {}))


def key_cells(runs: Sequence[Run], run: Run, case_id: str) -> list[str]:
    """Return the cells below `key_columns`."""
    return [case_id, run.label] if len(runs) > 1 else [case_id]


def metric_columns(names: Iterable[str]) -> list[Column]:
    """Return a column for each metric."""
    return number_columns(**{name: METRICS[name].label for name in names})


def without_empty(table: Table) -> Table:
    """Drop columns of numbers in which no row has a value."""
    kept = [
        not column.is_number or any(row.values[number] is not None for row in table.rows)
        for number, column in enumerate(table.columns)
    ]
    rows = [
        replace(row, shown=[*compress(row.shown, kept)], values=[*compress(row.values, kept)])
        for row in table.rows
    ]
    return replace(table, columns=[*compress(table.columns, kept)], rows=rows)


def row_of(*cells: tuple[str, Cell] | str, style: str | None = None) -> Row:
    """Build a row of pairs of what is shown and its value; text is both."""
    pairs = [(cell, cell) if isinstance(cell, str) else cell for cell in cells]
    return Row(
        shown=[shown for shown, _ in pairs], values=[value for _, value in pairs], style=style
    )


def figure_cell(value: float | None, text: Callable[[float], str]) -> tuple[str, Cell]:
    """Return a number and how it is shown; a dash where it was not measured."""
    return (ABSENT, None) if value is None else (text(value), value)


def count_cell(count: int) -> tuple[str, Cell]:
    """Return a whole number and how it is shown."""
    return f"{count:,}", count


def metric_cell(name: str, value: float | None) -> tuple[str, Cell]:
    """Return a metric's value and how its column shows it."""
    return METRICS[name].show(value), value
