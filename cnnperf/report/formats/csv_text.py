"""Write CSV that a spreadsheet opens without running anything in it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from cnnperf.report.html.content import Cell, Table

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet takes text that begins like this for a formula (OWASP, "CSV Injection")."""


def to_csv(table: Table) -> str:
    """Return a page's table as CSV (RFC 4180), unrounded; what was not measured is empty."""
    heads = [column.name for column in table.columns]
    return csv_lines([heads, *(row.values for row in table.rows)], line_end="\r\n")


def csv_lines(rows: Iterable[Sequence[Cell]], line_end: str = "\n") -> str:
    """Return rows as CSV, with an apostrophe before text that looks like a formula."""
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
    return f"'{value}" if value.startswith(FORMULA_STARTS) else value
