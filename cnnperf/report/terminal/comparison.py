"""Show the verdicts on a terminal: environment changes, a row for each metric, explanations."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cnnperf.compare.thresholds import DEFAULTS, MetricRule, Thresholds
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
from cnnperf.report.terminal.layout import Column, GroupedTable, TableGroup
from cnnperf.report.wording.comparison import (
    Row,
    asides,
    effect,
    label,
    limit,
    median,
    rows,
    where_they_part,
)


def comparison_summary(comparison: Comparison, left_out: str = "") -> RenderableType:
    """Return everything there is to see, the answer last, where the reader's eye ends up.

    `left_out` is the line on cases that `shortened` left out.
    """
    style = {0: "bold green", 1: "bold red"}.get(comparison.exit_code, "bold yellow")
    if comparison.verdict == "inconclusive":
        style = "bold yellow"
    return Group(
        _changes(comparison),
        _verdicts(comparison),
        _legend(comparison),
        *_explanations(comparison),
        *([Text(left_out, style="dim")] if left_out else []),
        Text(printable(comparison.summary), style=style),
    )


def _changes(comparison: Comparison) -> RenderableType:
    if not comparison.environment_changes:
        return Text("no difference between the environments", style="dim")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for head in ("environment", *comparison.sides):
        table.add_column(head, overflow="fold")
    for change in comparison.environment_changes:
        style = "yellow" if change.forbids else ""
        cells = (change.field, *where_they_part(change.base, change.new))
        table.add_row(*(Text(printable(cell), style=style) for cell in cells))
    return table


def _verdicts(comparison: Comparison) -> GroupedTable:
    base, new = comparison.sides
    columns = (
        Column("metric", "left", min_width=8),
        Column(base, min_width=6),
        Column(new, min_width=6),
        Column("n"),
        Column("change (interval)", min_width=9),
        Column("verdict", "left"),
    )
    groups = [
        (_title(case), [_verdict_cells(*each) for each in case.metrics.items()])
        for case in comparison.cases
    ]
    new_cases: list[TableGroup] = [
        (Text(printable(f"{case_id} (new case)"), style="bold"), [])
        for case_id in comparison.new_cases
    ]
    return GroupedTable(columns, [*groups, *new_cases])


def _title(case: CaseVerdicts) -> Text:
    title = Text(printable(case.id), style="bold")
    return title.append(f" ({case.verdict})", verdict_style(case.verdict)) if case.reason else title


def _verdict_cells(name: str, metric: MetricVerdict) -> list[Text]:
    cells = (
        label(name),
        median(name, metric.base, metric.unit),
        median(name, metric.new, metric.unit),
        f"{metric.n_base}, {metric.n_new}",
        effect(metric).removeprefix("ratio ") or ABSENT,
    )
    style = "" if metric.gates else "dim"
    verdict = Text(metric.verdict, style=verdict_style(metric.verdict, gates=metric.gates))
    return [*(Text(printable(cell), style=style) for cell in cells), verdict]


def verdict_style(verdict: Verdict, *, gates: bool = True) -> str:
    """Return the style in which rich shows a verdict."""
    if verdict in REGRESSIONS:
        return "bold red" if gates else "red"
    if verdict in IMPROVEMENTS:
        return "green"
    return "" if verdict == "same" else "yellow"


def _legend(comparison: Comparison) -> Text:
    levels = {metric.confidence for case in comparison.cases for metric in case.metrics.values()}
    base, new = comparison.sides
    level = " or ".join(f"{100 * value:.4g} %" for value in sorted(levels or {0.95}))
    return Text(
        f"medians; n: trainings of {base} and {new}; change: {new} relative to {base}, or the "
        f"difference in points or its unit, with its {level} interval; dim rows do not gate",
        style="dim",
    )


def _explanations(comparison: Comparison) -> Iterator[Text]:
    """Yield lines below the table, the most severe first; one for what several rows share."""
    shared: dict[tuple[Verdict, str], list[Row]] = {}
    for row in rows(comparison.cases):
        if row.explanation and row.gates:
            shared.setdefault((row.verdict, row.explanation), []).append(row)
    for (verdict, explanation), found in shared.items():
        first, more = found[0], len(found) - 1
        where = first.case.id if first.name is None else f"{first.case.id}, {first.subject}"
        others = f" [and {more} more]" if more else ""
        text = printable(f"{verdict}: {where}: {explanation}{others}")
        yield Text(text, style=verdict_style(verdict))
    for case in comparison.cases:
        for note in asides(case, comparison.sides):
            style = "yellow" if note.doubtful else ""
            yield Text(printable(f"{note.topic}: {case.id}: {note.text}"), style=style)
    for text in comparison.notes:
        yield Text(printable(text), style="dim")


def thresholds_table(comparison: Comparison, thresholds: Thresholds) -> GroupedTable:
    """Return the threshold in force for every metric that could be judged, for --verbose."""
    heads = ("change that counts", "floor", "gates")
    groups = [
        (
            Text(printable(case.id), style="bold"),
            [_threshold_cells(case, name, thresholds) for name in case.metrics or DEFAULTS],
        )
        for case in comparison.cases
    ]
    return GroupedTable((Column("threshold in force", "left"), *map(Column, heads)), groups)


def _threshold_cells(case: CaseVerdicts, name: str, thresholds: Thresholds) -> tuple[str, ...]:
    metric = case.metrics.get(name)
    if metric is not None and metric.unit is not None:  # a quality, which its case declares
        rule = MetricRule(threshold=metric.threshold, floor=metric.floor, gate=metric.gates)
    else:
        rule = thresholds.rule(case.id, name)
    # A calibration may have widened it.
    threshold = metric.threshold if metric is not None else rule.threshold
    unit = metric.unit if metric is not None else None
    gates = "yes" if rule.gate else "no"
    return label(name), limit(name, threshold, unit), median(name, rule.floor, unit), gates
