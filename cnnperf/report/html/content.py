"""What a page is made of: sections of words, tables and figures. `page` alone knows HTML.

Torch-free, and free of altair: a figure is a Vega-Lite specification as plain values. All text is
plain text, which the page escapes; nothing here is markup.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Cell = str | int | float | bool | None
"""A table's value as CSV has it: unrounded, and None where nothing was measured."""


def capitalised(text: str) -> str:
    """The beginning of a sentence; what else is in capitals stays so, as NVML's name.

    >>> capitalised("of the device, from NVML")
    'Of the device, from NVML'
    """
    return text[:1].upper() + text[1:]


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a table."""

    name: str
    """In CSV, with unit and "per" in it: `train_seconds`."""
    label: str
    """What people read above it."""
    is_number: bool = False
    """Aligned to the right, and sorted by value."""


def number_column(name: str, label: str) -> Column:
    """A column of figures."""
    return Column(name=name, label=label, is_number=True)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row: what is shown, and what it is sorted and exported by."""

    shown: Sequence[str]
    values: Sequence[Cell]
    style: str | None = None
    """A verdict or an outcome, which gives the row its colour; never colour alone."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table that can be sorted, and downloaded as CSV under its id."""

    id: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    is_closed: bool | None = None
    """Opened by whoever wants it; None where its length decides. On paper all are open."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A chart, with the words for those who do not see it."""

    id: str
    """Unique on its page, of letters, digits and dashes; the name of its PNG or SVG."""
    title: str
    caption: str
    """What it shows and what of it matters, in a sentence or two."""
    specification: dict[str, Any]
    """Vega-Lite, data included; no colours of its own but those of the theme's scales."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of a page under a heading of its own."""

    id: str
    title: str
    paragraphs: Sequence[str] = ()
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    subsections: Sequence[Section] = field(default=())


@dataclass(frozen=True, kw_only=True)
class Page:
    """Everything on one page."""

    title: str
    lead: Sequence[str]
    """The summary in words: what ran, where, and what came of it."""
    sections: Sequence[Section]

    def figures(self) -> list[Figure]:
        """All figures, in the order in which they are seen."""
        return _figures(self.sections)


def _figures(sections: Sequence[Section]) -> list[Figure]:
    found: list[Figure] = []
    for section in sections:
        found += [*section.figures, *_figures(section.subsections)]
    return found
