"""Show on a terminal what the suites peers, infer and harness measured, a table for each case."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from cnnperf.errors import printable
from cnnperf.record.schema import Record
from cnnperf.report.suites import SUITES, Suite
from cnnperf.report.terminal.layout import Column, new_table

PAGE_ONLY = ("n", "outcome")
"""Columns left out here: the results above have them."""


def suite_tables(record: Record) -> Iterator[RenderableType]:
    """Yield the tables of every suite that a record has results of."""
    for suite in SUITES:
        yield from tables_of(suite, record)


def tables_of(suite: Suite, record: Record) -> Iterator[RenderableType]:
    """Yield a heading and a table for each subject, then the legend; nothing without results."""
    shown = [index for index, each in enumerate(suite.columns) if each.name not in PAGE_ONLY]
    columns = [
        Column(suite.columns[index].label, "right" if suite.columns[index].is_number else "left")
        for index in shown
    ]
    found = list(suite.tables(record))
    for subject, heading, rows in found:
        yield Text(printable(f"{subject}: {heading}"), style="bold")
        yield new_table(columns, [[row.shown[index] for index in shown] for row in rows])
    if found and suite.legend:
        yield Text(suite.legend, style="dim")
