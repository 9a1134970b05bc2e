"""Look up the parts of a page by id."""

from __future__ import annotations

from typing import Any

from cnnperf.record.schema import Record
from cnnperf.report.html.content import Figure, Page, Row, Section, Table
from cnnperf.report.html.run_page import run_page
from tests.report.runs import sides


def page_of(*records: Record) -> Page:
    return run_page(sides(*records))


def sections_in(sections: Any) -> list[Section]:
    return [each for section in sections for each in (section, *sections_in(section.subsections))]


def section_of(page: Page, name: str) -> Section:
    (found,) = (section for section in sections_in(page.sections) if section.id == name)
    return found


def names_in(page: Page) -> set[str]:
    return {section.id for section in sections_in(page.sections)}


def table_of(page: Page, name: str) -> Table:
    tables = [table for section in sections_in(page.sections) for table in section.tables]
    (found,) = (table for table in tables if table.id == name)
    return found


def figure_of(page: Page, name: str) -> Figure:
    (found,) = (figure for figure in page.figures() if figure.id == name)
    return found


def shown_in(table: Table, row: Row) -> dict[str, str]:
    return {column.name: cell for column, cell in zip(table.columns, row.shown, strict=True)}


def values_of(table: Table) -> list[dict[str, Any]]:
    return [
        {column.name: value for column, value in zip(table.columns, row.values, strict=True)}
        for row in table.rows
    ]


def data_of(figure: Figure) -> list[dict[str, Any]]:
    """Return all rows of a chart."""
    rows: list[dict[str, Any]] = figure.specification["datasets"]["rows"]
    return rows
