"""Show on a page what the suites peers, infer and harness measured, a section each."""

from __future__ import annotations

from collections.abc import Sequence

from cnnperf.report.html.content import Row, Section, Table, capitalised
from cnnperf.report.html.sections.runs import Run, key_cells, key_columns
from cnnperf.report.suites import SUITES, Suite


def suite_sections(runs: Sequence[Run]) -> list[Section]:
    """Return a section for each suite that a run has results of."""
    sections = [_section(runs, suite) for suite in SUITES]
    return [section for section in sections if section.tables[0].rows]


def _section(runs: Sequence[Run], suite: Suite) -> Section:
    table = Table(
        id=f"table-{suite.id}",
        caption=suite.caption,
        columns=[suite.subject_column, *key_columns(runs)[1:], *suite.columns],
        rows=_rows(runs, suite),
    )
    paragraphs = [f"{capitalised(suite.legend)}."] if suite.legend else []
    return Section(id=suite.id, title=suite.title, paragraphs=paragraphs, tables=[table])


def _rows(runs: Sequence[Run], suite: Suite) -> list[Row]:
    """Return the rows of all runs, those of one subject beside each other."""
    found: dict[str, list[Row]] = {}
    for run in runs:
        for table in suite.tables(run.record):
            keys = key_cells(runs, run, table.subject)
            found.setdefault(table.subject, []).extend(
                Row(shown=[*keys, *row.shown], values=[*keys, *row.values], style=row.style)
                for row in table.rows
            )
    return [row for rows in found.values() for row in rows]
