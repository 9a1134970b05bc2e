"""What a page of one or two runs is made of: the runs, their cases, and names to show them by.

Torch-free.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cnnperf.compare.inputs import Side
from cnnperf.errors import printable
from cnnperf.record.environment import Environment
from cnnperf.record.metrics import ABSENT, METRICS
from cnnperf.record.schema import CaseRecord, Record, Repeat
from cnnperf.report.html.content import Cell, Column, Row, Table, number_column

MAX_SLUG_CHARS = 60


@dataclass(frozen=True, kw_only=True)
class Run:
    """One record on a page."""

    label: str
    """`base` or `new`; `run` where it is alone."""
    name: str
    """Of its file, as short as it can be told from the other."""
    record: Record
    files: tuple[str, ...] = ()
    """All that were pooled, as they were named; the record is put together of them."""
    environments: tuple[Environment, ...] = ()
    """One a file; the record has the first's."""

    @property
    def cases(self) -> dict[str, CaseRecord]:
        """By id, in the order of the record."""
        return {case.id: case for case in self.record.cases}


CaseSide = tuple[Run, CaseRecord]
"""A case as one of the runs has it."""


def runs_of(sides: Sequence[Side]) -> list[Run]:
    """One run, or base and new; a side of several files is one run of all their cases."""
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
    """A side's records as one, which begins with the first of them."""
    first = min(side.records, key=lambda record: record.created)
    interrupted = any(record.interrupted for record in side.records)
    cases = list(side.cases.values())
    return side.records[0].model_copy(
        update={"created": first.created, "interrupted": interrupted, "cases": cases}
    )


def case_ids(runs: Iterable[Run]) -> list[str]:
    """Every case once, in base's order, then those that only new has."""
    return list(dict.fromkeys(case.id for run in runs for case in run.record.cases))


def slugs(ids: Iterable[str]) -> dict[str, str]:
    """A name of lower-case letters, digits and dashes for each id, each name once.

    >>> slugs(["modified_vgg-mnist-28-fast", "<b>", "<i>"])["<b>"]
    'b'
    """
    found: dict[str, str] = {}
    taken: set[str] = set()
    for case_id in ids:
        words = re.findall(r"[a-z0-9]+", case_id.lower())
        stem = "-".join(words)[:MAX_SLUG_CHARS].strip("-") or "case"
        slug, number = stem, 1
        while slug in taken:
            number += 1
            slug = f"{stem}-{number}"
        taken.add(slug)
        found[case_id] = slug
    return found


def sides_of(runs: Sequence[Run], case_id: str) -> list[CaseSide]:
    """A case as each run has it; runs without it are left out."""
    return [(run, run.cases[case_id]) for run in runs if case_id in run.cases]


def all_sides(runs: Sequence[Run]) -> Iterator[CaseSide]:
    """Every case of every run: a case's base and new beside each other."""
    for case_id in case_ids(runs):
        yield from sides_of(runs, case_id)


def all_repeats(runs: Sequence[Run]) -> Iterator[tuple[Run, CaseRecord, Repeat]]:
    """Every training."""
    for run, case in all_sides(runs):
        for repeat in case.repeats:
            yield run, case, repeat


def median_of(values: Iterable[float | None]) -> float | None:
    """Median of those that are there."""
    present = [value for value in values if value is not None]
    return statistics.median(present) if present else None


# --- tables -------------------------------------------------------------------------------------


def key_columns(runs: Sequence[Run]) -> list[Column]:
    """What stands first in every table of cases."""
    columns = [Column(name="case", label="case")]
    if len(runs) > 1:
        columns.append(Column(name="run", label="run"))
    return columns


def key_cells(runs: Sequence[Run], run: Run, case_id: str) -> list[str]:
    """The cells below `key_columns`."""
    return [case_id, run.label] if len(runs) > 1 else [case_id]


def metric_columns(names: Iterable[str]) -> list[Column]:
    """A column for each metric."""
    return [number_column(name, METRICS[name].label) for name in names]


def without_empty(table: Table) -> Table:
    """A table without the columns of figures in which no row has a value."""
    kept = [
        number
        for number, column in enumerate(table.columns)
        if not column.is_number or any(row.values[number] is not None for row in table.rows)
    ]
    return Table(
        id=table.id,
        caption=table.caption,
        columns=[table.columns[number] for number in kept],
        rows=[
            Row(
                shown=[row.shown[number] for number in kept],
                values=[row.values[number] for number in kept],
                style=row.style,
            )
            for row in table.rows
        ],
        is_closed=table.is_closed,
    )


def row_of(*cells: tuple[str, Cell] | str, style: str | None = None) -> Row:
    """A row of pairs of what is shown and its value; text is both."""
    pairs = [(cell, cell) if isinstance(cell, str) else cell for cell in cells]
    return Row(
        shown=[shown for shown, _ in pairs], values=[value for _, value in pairs], style=style
    )


def figure_cell(value: float | None, text: Callable[[float], str]) -> tuple[str, Cell]:
    """A figure and how it is shown; a dash where it was not measured."""
    return (ABSENT, None) if value is None else (text(value), value)


def count_cell(count: int) -> tuple[str, Cell]:
    """A whole number."""
    return f"{count:,}", count


def metric_cell(name: str, value: float | None) -> tuple[str, Cell]:
    """A metric as its column shows and exports it."""
    return METRICS[name].show(value), value
