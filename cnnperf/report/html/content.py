"""The parts of a page: sections of text, tables and figures. `page` alone turns them into HTML.

All text is plain; `page` escapes it. A figure is a Vega-Lite specification as plain values.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from cnnperf.errors import printable

Cell = str | int | float | bool | None
"""A value as CSV has it: unrounded; None where nothing was measured."""

MARK = '<meta name="generator" content="cnnperf report">'
"""Stands in the head of every page, which a later page may therefore overwrite."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a table."""

    name: str
    """In CSV, with unit and "per" in it: `train_seconds`."""
    label: str
    is_number: bool = False
    """Numbers are aligned to the right and sorted by value."""


def number_columns(**labels: str) -> list[Column]:
    """Describe columns of numbers; keywords are name and label."""
    return [Column(name=name, label=label, is_number=True) for name, label in labels.items()]


def text_columns(**labels: str) -> list[Column]:
    """Describe columns of text; keywords are name and label."""
    return [Column(name=name, label=label) for name, label in labels.items()]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row: what people see, and the values for sorting and CSV."""

    shown: Sequence[str]
    values: Sequence[Cell]
    style: str | None = None
    """A verdict or an outcome, which colours the row; the row's text says it, too."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table that readers can sort, and download as CSV named by its id."""

    id: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    is_closed: bool | None = None
    """Whether a reader must open it; None: long tables are closed. On paper all are open."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A chart, with words for readers who do not see it."""

    id: str
    """Unique on its page, of letters, digits and dashes; also the name of its PNG or SVG."""
    title: str
    caption: str
    """What it shows and what to look at, in a sentence or two."""
    specification: dict[str, Any]
    """Vega-Lite with its data; colours are names of the theme."""

    def __post_init__(self) -> None:
        """Make every text printable: a control character ends the process that draws pictures."""
        for name in ("title", "caption", "specification"):
            object.__setattr__(self, name, _printable(getattr(self, name)))


def _printable(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _printable(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_printable(each) for each in value]
    return printable(value) if isinstance(value, str) else value


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of a page under its own heading."""

    id: str
    title: str
    paragraphs: Sequence[str] = ()
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    subsections: Sequence[Section] = ()

    def walk(self) -> Iterator[Section]:
        """Yield the section and all those below it, in reading order."""
        yield self
        for section in self.subsections:
            yield from section.walk()


@dataclass(frozen=True, kw_only=True)
class Page:
    """Everything on one page."""

    title: str
    lead: Sequence[str]
    """Summary in words: what ran, where, and the result."""
    sections: Sequence[Section]

    def figures(self) -> list[Figure]:
        """Return all figures in reading order."""
        return [figure for top in self.sections for each in top.walk() for figure in each.figures]


FORMULA_STARTS = ("=", "+", "-", "@")
"""A spreadsheet takes text that begins like this for a formula (OWASP, "CSV Injection")."""


def to_csv(table: Table) -> str:
    """Return a page's table as CSV (RFC 4180), unrounded; what was not measured is empty."""
    heads = [column.name for column in table.columns]
    return csv_lines([heads, *(row.values for row in table.rows)], line_end="\r\n")


def csv_lines(rows: Iterable[Sequence[Cell]], line_end: str = "\n") -> str:
    """Return rows as CSV, printable, with an apostrophe before text that looks like a formula."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator=line_end)
    writer.writerows(map(_cell, row) for row in rows)
    return text.getvalue()


def _cell(value: Cell) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    text = printable(value)
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text
