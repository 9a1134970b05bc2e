"""A row a metric below the name of its case, in the widest form for which a terminal has room.

Torch-free. Names are searched and copied and verdicts are what everybody looks for, so neither is
cut: what gives way is the line in which a figure's n or interval stands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, JustifyMethod, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cnnperf.compare.verdicts import (
    IMPROVEMENTS,
    REGRESSIONS,
    CaseVerdicts,
    Comparison,
    MetricVerdict,
    Verdict,
)
from cnnperf.errors import printable
from cnnperf.record.metrics import ABSENT
from cnnperf.report.wording.comparison import effect, label, medians

LABEL, BASE, NEW, CHANGE, VERDICT = range(5)
"""The columns."""

INDENT = 2
GAP = 2
"""Characters between two columns."""

Breaks = Mapping[int, Sequence[str]]
"""By column: the texts before which a line ends; a space that one begins with is not shown."""

FORMS: tuple[Breaks, ...] = (
    {},
    {CHANGE: (" (",)},
    {BASE: (" (",), NEW: (" (",), CHANGE: (" (",)},
    {LABEL: (" ",), BASE: (" (",), NEW: (" (",), CHANGE: (" (", " to ")},
)
"""From the widest to the narrowest."""


def verdict_style(verdict: Verdict, *, gates: bool = True) -> str:
    """How rich writes a verdict."""
    if verdict in REGRESSIONS:
        return "bold red" if gates else "red"
    if verdict in IMPROVEMENTS:
        return "green"
    return "" if verdict == "same" else "yellow"


@dataclass(frozen=True)
class VerdictsTable:
    """All cases of a comparison, those last that only new has."""

    comparison: Comparison

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The widest form that fits; the narrowest where none does."""
        cases = self.comparison.cases
        titles = [(case.id, _mark(case)) for case in cases]
        titles += [(case_id, Text("new case")) for case_id in self.comparison.new_cases]
        for form in FORMS:
            heads = _broken(_heads(self.comparison), form)
            rows = [_rows(case, form) for case in cases]
            widths = _widths([heads, *(row for each in rows for row in each)])
            widths[VERDICT] = max(widths[VERDICT], *(mark.cell_len for _, mark in titles))
            if INDENT + sum(widths) + GAP * VERDICT <= options.max_width:
                break
        yield ""
        yield _head(heads, widths)
        rows += [[]] * len(self.comparison.new_cases)
        for (name, mark), found in zip(titles, rows, strict=True):
            yield _title(name, mark, widths)
            yield Padding(_table(found, widths), (0, 0, 1, INDENT), expand=False)


def _heads(comparison: Comparison) -> list[Text]:
    return [Text(head) for head in ("case", *comparison.sides, "change (interval)", "verdict")]


def _mark(case: CaseVerdicts) -> Text:
    """The verdict on a case as a whole, if there is one."""
    return Text(case.verdict, style=verdict_style(case.verdict)) if case.reason else Text()


def _rows(case: CaseVerdicts, form: Breaks) -> list[list[Text]]:
    return [_broken(_cells(name, metric), form) for name, metric in case.metrics.items()]


def _cells(name: str, metric: MetricVerdict) -> list[Text]:
    style = "" if metric.gates else "dim"
    base, new = medians(name, metric)
    shown = effect(metric).removeprefix("ratio ") or ABSENT
    verdict = Text(metric.verdict, style=verdict_style(metric.verdict, gates=metric.gates))
    return [*(Text(cell, style=style) for cell in (label(name), base, new, shown)), verdict]


def _broken(cells: Sequence[Text], form: Breaks) -> list[Text]:
    """The cells with line ends where this form has them."""
    found = []
    for column, cell in enumerate(cells):
        text = cell.plain
        for mark in form.get(column, ()):
            text = text.replace(mark, f"\n{mark.lstrip()}")
        found.append(Text(text, style=cell.style))
    return found


def _widths(rows: Sequence[Sequence[Text]]) -> list[int]:
    """Of each column that of its longest line, so that the tables of all cases are alike."""
    return [
        max(cell_len(line) for cell in column for line in cell.plain.split("\n"))
        for column in zip(*rows, strict=True)
    ]


# --- three kinds of tables, with their columns below one another --------------------------------


def _head(heads: Sequence[Text], widths: Sequence[int]) -> Table:
    table = _empty_table(show_header=True)
    indented = [widths[LABEL] + INDENT, *widths[1:]]
    for column, (head, width) in enumerate(zip(heads, indented, strict=True)):
        table.add_column(head, width=width, justify=_justify(column), vertical="bottom")
    return table


def _title(name: str, mark: Text, widths: Sequence[int]) -> Table:
    """A case's name over all columns but that of the verdicts."""
    table = _empty_table()
    table.add_column(width=INDENT + sum(widths[:VERDICT]) + GAP * (VERDICT - 1), overflow="fold")
    table.add_column(width=widths[VERDICT], overflow="fold")
    table.add_row(Text(printable(name), style="bold"), mark)
    return table


def _table(rows: Sequence[Sequence[Text]], widths: Sequence[int]) -> Table:
    table = _empty_table()
    for column, width in enumerate(widths):
        table.add_column(width=width, justify=_justify(column), overflow="fold")
    for cells in rows:
        table.add_row(*cells)
    return table


def _justify(column: int) -> JustifyMethod:
    return "left" if column in (LABEL, VERDICT) else "right"


def _empty_table(*, show_header: bool = False) -> Table:
    return Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        collapse_padding=True,
        show_header=show_header,
    )
