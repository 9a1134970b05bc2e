"""The verdicts as a terminal shows them: what differs, a row a metric, and what explains it.

Torch-free.
"""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cnnperf.compare.thresholds import JUDGED, Thresholds
from cnnperf.compare.verdicts import CaseVerdicts, Comparison, Verdict
from cnnperf.errors import printable
from cnnperf.record.metrics import ABSENT, format_percent
from cnnperf.report.terminal.verdict_rows import VerdictsTable, verdict_style
from cnnperf.report.wording.comparison import Row, label, rows, where_they_part
from cnnperf.report.wording.notes import asides


def comparison_summary(comparison: Comparison) -> RenderableType:
    """Everything, the answer last, where a terminal stands when it is done."""
    parts: list[RenderableType] = []
    if comparison.environment_changes:
        parts.append(environment_changes_table(comparison))
    else:
        parts.append(Text("the environments do not differ", style="dim"))
    parts += [VerdictsTable(comparison), _legend(comparison), *_explanations(comparison)]
    style = {0: "bold green", 1: "bold red"}.get(comparison.exit_code, "bold yellow")
    if comparison.verdict == "inconclusive":
        style = "bold yellow"
    parts.append(Text(printable(comparison.summary), style=style))
    return Group(*parts)


def environment_changes_table(comparison: Comparison) -> Table:
    """A row a field that is not the same on both sides."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("what differs", no_wrap=True)
    for side in comparison.sides:
        table.add_column(side, overflow="fold")
    for change in comparison.environment_changes:
        style = "yellow" if change.forbids else ""
        cells = (change.field, *where_they_part(change.base, change.new))
        table.add_row(*(Text(printable(cell), style=style) for cell in cells))
    return table


def _legend(comparison: Comparison) -> Text:
    levels = {metric.confidence for case in comparison.cases for metric in case.metrics.values()}
    base, new = comparison.sides
    level = " or ".join(f"{100 * value:.4g} %" for value in sorted(levels or {0.95}))
    return Text(
        f"medians of n; change: {new} over {base}, or points of difference, with its {level} "
        "interval; what is dim gates nothing",
        style="dim",
    )


def _explanations(comparison: Comparison) -> Iterator[Text]:
    """Lines below the table, the gravest first; what holds for many is said once."""
    alike: dict[tuple[Verdict, str], list[Row]] = {}
    for row in rows(comparison.cases):
        if row.explanation and row.gates:
            alike.setdefault((row.verdict, row.explanation), []).append(row)
    for (verdict, explanation), found in alike.items():
        first, more = found[0], len(found) - 1
        where = first.case.id if first.name is None else f"{first.case.id}, {first.subject}"
        others = f" [and {more} more such]" if more else ""
        text = printable(f"{verdict}: {where}: {explanation}{others}")
        yield Text(text, style=verdict_style(verdict))
    for case in comparison.cases:
        yield from _about(case, comparison.sides)
    for note in comparison.notes:
        yield Text(printable(note), style="dim")


def _about(case: CaseVerdicts, sides: tuple[str, str]) -> Iterator[Text]:
    for aside in asides(case, sides):
        style = "yellow" if aside.doubtful else ""
        yield Text(printable(f"{aside.topic}: {case.id}: {aside.text}"), style=style)


def thresholds_table(comparison: Comparison, thresholds: Thresholds) -> Table:
    """What counts, for every metric that could be judged: for --verbose."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("threshold in force", overflow="fold")
    for head in ("change that counts", "floor", "gates"):
        table.add_column(head, justify="right")
    for case in comparison.cases:
        table.add_section()
        table.add_row(Text(printable(case.id), style="bold"))
        for name in JUDGED if not case.metrics else case.metrics:
            table.add_row(*_threshold_cells(case, name, thresholds))
    return table


def _threshold_cells(case: CaseVerdicts, name: str, thresholds: Thresholds) -> tuple[str, ...]:
    rule = thresholds.rule(case.id, name)
    # A calibration may have widened it.
    limit = case.metrics[name].threshold if name in case.metrics else rule.threshold
    by_ratio = JUDGED[name].by_ratio
    shown = f"{100 * limit:.3g} %" if by_ratio else f"{100 * limit:.3g} points"
    floor = ABSENT if rule.floor is None else format_percent(rule.floor)
    return f"  {label(name)}", shown, floor, "yes" if rule.gate else "no"
