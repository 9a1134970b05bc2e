"""Keep a page below 10 MB: figures and rows beyond that go, from the end, and the page says so.

Browsers open a page of 100 MB slowly or not at all, and CI servers refuse to keep it. Whoever makes
a page puts what matters most first.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from itertools import accumulate, takewhile
from urllib.parse import quote

from markupsafe import escape

from cnnperf.report.html.content import Figure, Page, Row, Section, Table
from cnnperf.report.wording import counted

MAX_BYTES = 8_800_000
"""Figures and rows of a page; its scripts and texts take another megabyte."""

FIGURES_SHARE = 0.35
"""Part of a full page that its figures may take."""

MARKUP_BYTES = 50
"""Bytes around a cell; a figure's are ten times as many."""

ALL = "cnnperf report --all"
"""The command that leaves out nothing."""


def fitted(page: Page, most_bytes: int = MAX_BYTES, command: str = ALL) -> Page:
    """Return the page, without the figures and rows for which there is no room.

    The page names the `command` that leaves out nothing.
    """
    sections = [each for top in page.sections for each in top.walk()]
    tables = {
        table.id: [_row_bytes(row) for row in table.rows]
        for each in sections
        for table in each.tables
    }
    figures = {figure.id: _figure_bytes(figure) for figure in page.figures()}
    need = {name: sum(sizes) for name, sizes in tables.items()}
    if sum(figures.values()) + sum(need.values()) <= most_bytes:
        return page
    drawn = _count(
        figures.values(), max(most_bytes * FIGURES_SHARE, most_bytes - sum(need.values()))
    )
    kept = dict(list(figures.items())[:drawn])
    room = _shares(need, most_bytes - sum(kept.values()))
    rows = {name: _count(sizes, room[name]) for name, sizes in tables.items()}
    gone = {
        "figure": len(figures) - drawn,
        "row": sum(map(len, tables.values())) - sum(rows.values()),
    }
    missing = [counted(count, noun) for noun, count in gone.items() if count]
    line = f"There is no room on this page for {' and '.join(missing)}: {command} shows all."
    cut = [_cut(section, kept.keys(), rows) for section in page.sections]
    return replace(page, lead=[*page.lead, line], sections=cut)


def _row_bytes(row: Row) -> int:
    """Return about what a row takes: each cell, its value for sorting, and its place in the CSV."""
    shown = sum(MARKUP_BYTES + len(escape(text).encode()) for text in row.shown)
    return shown + sum(2 * len(quote(str(value))) for value in row.values)


def _figure_bytes(figure: Figure) -> int:
    return 10 * MARKUP_BYTES + len(json.dumps(figure.specification, separators=(",", ":")))


def _count(sizes: Iterable[int], room: float) -> int:
    """Return how many of the first ones fit."""
    return sum(1 for _ in takewhile(lambda total: total <= room, accumulate(sizes)))


def _shares(need: dict[str, int], room: float) -> dict[str, float]:
    """Divide the room: each gets what it needs, or an equal part of what smaller ones leave."""
    shares = {}
    for done, name in enumerate(sorted(need, key=lambda name: need[name])):
        shares[name] = min(need[name], room / (len(need) - done))
        room -= shares[name]
    return shares


def _cut(section: Section, figures: Iterable[str], rows: dict[str, int]) -> Section:
    return replace(
        section,
        figures=[figure for figure in section.figures if figure.id in figures],
        tables=[_cut_table(table, rows[table.id]) for table in section.tables],
        subsections=[_cut(each, figures, rows) for each in section.subsections],
    )


def _cut_table(table: Table, count: int) -> Table:
    if count == len(table.rows):
        return table
    caption = f"{table.caption} (the first {count:,} of {len(table.rows):,} rows)"
    return replace(table, caption=caption, rows=table.rows[:count])
