"""A table as CSV that a spreadsheet opens without running anything in it. Torch-free."""

from __future__ import annotations

import csv
import io

from cnnperf.report.html.content import Cell, Table

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""With one of these in front, spreadsheets take text for a formula (OWASP, "CSV Injection")."""


def to_csv(table: Table) -> str:
    """Heads and rows as RFC 4180 has them, unrounded; what was not measured is empty.

    Text that a spreadsheet would take for a formula gets an apostrophe in front.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow([_cell(column.name) for column in table.columns])
    writer.writerows([_cell(value) for value in row.values] for row in table.rows)
    return text.getvalue()


def _cell(value: Cell) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    return f"'{value}" if value.startswith(FORMULA_STARTS) else value
