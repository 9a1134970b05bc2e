"""Two runs, judged: what changed, how sure that is, and how the environments differ.

Verdicts and their words are those of `cnnperf compare`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from cnnperf.compare.verdicts import (
    IMPROVEMENTS,
    REGRESSIONS,
    CaseVerdicts,
    Comparison,
    MetricVerdict,
    Verdict,
)
from cnnperf.errors import printable
from cnnperf.report.html.charts import bars_with_intervals
from cnnperf.report.html.content import (
    Cell,
    Figure,
    Row,
    Section,
    Table,
    number_columns,
    text_columns,
)
from cnnperf.report.html.room import ALL
from cnnperf.report.html.sections.runs import figure_cell, row_of
from cnnperf.report.wording import capitalised
from cnnperf.report.wording.comparison import Row as Judged
from cnnperf.report.wording.comparison import (
    asides,
    effect,
    limit,
    median,
    rows,
    shortened,
    where_they_part,
)

FIGURES = {
    "train_seconds": ("Change in train time", "new relative to base, in %; below 0 is faster"),
    "test_accuracy": ("Change in test accuracy", "new minus base, in points; above 0 is better"),
}
"""Metrics with a figure: its title and axis."""

KINDS: dict[Verdict, str] = {
    **dict.fromkeys(REGRESSIONS, "regression"),
    **dict.fromkeys(IMPROVEMENTS, "improvement"),
    "same": "same",
}
"""Verdicts as the figures colour them; others are no verdict."""

COLUMNS = (
    *text_columns(case="case", metric="metric", verdict="verdict"),
    *number_columns(base="base", new="new", change="change", change_low="from", change_high="to"),
    *text_columns(why="why"),
    *number_columns(threshold="threshold"),
    *text_columns(change_kind="change is"),
    *number_columns(n_base="n base", n_new="n new"),
    *text_columns(gates="gates"),
)


def verdict_sections(comparison: Comparison, *, everything: bool = False) -> list[Section]:
    """Build the verdict, and the differences between the environments.

    Of many cases, remarks and figures are only on those to look at, unless `everything` is wanted.
    """
    return [_verdict_section(comparison, everything), _changes_section(comparison)]


def _verdict_section(comparison: Comparison, everything: bool) -> Section:
    shown, left_out = (comparison, "") if everything else shortened(comparison, ALL)
    return Section(
        id="verdict",
        title=f"Verdict: {comparison.verdict}",
        paragraphs=[
            "Look at the coloured rows: red is worse, green is better, yellow is undecided. A "
            "change counts when its whole interval lies beyond the threshold. A ratio is new "
            "divided by base; a difference is new minus base. Rows that do not gate are for "
            "information.",
            *_remarks(shown),
            *([f"In figures and remarks {left_out}."] if left_out else []),
        ],
        figures=list(_figures(shown)),
        tables=[
            Table(
                id="table-verdicts",
                caption="Verdicts, most serious first: medians, change with its interval, and why",
                columns=COLUMNS,
                rows=[_verdict_row(row) for row in rows(comparison.cases)],
                is_closed=False,
            )
        ],
    )


def _remarks(comparison: Comparison) -> Iterator[str]:
    for case in comparison.cases:
        for aside in asides(case, comparison.sides):
            yield f"{capitalised(aside.topic)}: {case.id}: {aside.text}."
    if comparison.new_cases:
        yield f"Only in new, so not judged: {', '.join(comparison.new_cases)}."
    yield from (f"{capitalised(note)}." for note in comparison.notes)


def _verdict_row(row: Judged) -> Row:
    metric, name = row.metric, row.name or ""
    by_ratio = metric is None or (metric.difference is None and metric.unit is None)
    unit = metric.unit if metric is not None else None
    change = "ratio" if by_ratio else "difference"
    fields = ("base", "new", change, "low", "high", "threshold", "n_base", "n_new")
    values = [getattr(metric, field, None) for field in fields]
    signed = _points if unit is None else partial(_in_unit, unit=unit)
    return row_of(
        row.case.id,
        row.subject,
        row.verdict,
        *(_cell(value, partial(median, name, unit=unit)) for value in values[:2]),
        *(_cell(value, _ratio if by_ratio else signed) for value in values[2:5]),
        row.explanation,
        _cell(values[5], partial(limit, name, unit=unit)),
        "" if values[2] is None else change,
        *(_cell(count, str) for count in values[6:]),
        "yes" if row.gates else "no",
        style=row.verdict if row.gates else None,
    )


def _cell(value: float | None, text: Callable[[float], str]) -> tuple[str, Cell]:
    return figure_cell(value if value is not None and math.isfinite(value) else None, text)


def _ratio(value: float) -> str:
    return f"{value:.3f}"


def _points(value: float) -> str:
    return f"{100 * value:+z.2f} points"


def _in_unit(value: float, unit: str) -> str:
    return f"{value:+z.4g}" + f" {unit}" * (unit != "1")


# --- figures ------------------------------------------------------------------------------------


def _figures(comparison: Comparison) -> Iterator[Figure]:
    for name, (title, axis) in FIGURES.items():
        judged = [(case, case.metrics[name]) for case in comparison.cases if name in case.metrics]
        drawn = [_interval(case, metric) for case, metric in judged]
        if values := [row for row in drawn if row is not None]:
            levels = sorted({metric.confidence for _, metric in judged})
            confidence = " or ".join(f"{100 * level:.4g} %" for level in levels)
            yield Figure(
                id=f"change-{name.replace('_', '-')}",
                title=title,
                caption=f"Dots are changes, lines their {confidence} intervals. Inside the grey "
                "band a change is too small to count. A line up to the edge has no known end.",
                specification=bars_with_intervals(values, title=axis),
            )


def _interval(case: CaseVerdicts, metric: MetricVerdict) -> dict[str, Any] | None:
    """Return a change in percent or points; None where it could not be estimated."""
    offset = 0.0 if metric.ratio is None else 1.0
    value = metric.ratio if metric.ratio is not None else metric.difference
    if value is None or not math.isfinite(value):
        return None
    low, high = (
        None if end is None or not math.isfinite(end) else 100 * (end - offset)
        for end in (metric.low, metric.high)
    )
    change = 100 * (value - offset)
    shown = effect(metric).partition(" (")[0] if metric.ratio is None else f"{change:+z.1f} %"
    return {
        "label": printable(case.id),
        "shown": f"{metric.verdict}, {shown}",
        "value": change,
        "low": low,
        "high": high,
        "limit": 100 * metric.threshold,
        "kind": KINDS.get(metric.verdict, "no verdict"),
    }


# --- environments -------------------------------------------------------------------------------


def _changes_section(comparison: Comparison) -> Section:
    table_rows = [
        row_of(
            change.field,
            *zip(where_they_part(change.base, change.new), (change.base, change.new), strict=True),
            "yes, unless allowed with --across" if change.forbids else "no",
            style="not comparable" if change.forbids else None,
        )
        for change in comparison.environment_changes
    ]
    table = Table(
        id="table-changes",
        caption="Fields in which the two environments differ",
        columns=text_columns(field="field", base="base", new="new", forbids="forbids comparing"),
        rows=table_rows,
    )
    if not table_rows:
        words = "The two environments have no recorded difference."
        return Section(id="changes", title="What differs", paragraphs=[words])
    look = (
        "Look here for the cause of a change. A field that forbids comparing makes verdicts "
        "impossible, unless it is what you want to test (option --across)."
    )
    return Section(id="changes", title="What differs", paragraphs=[look], tables=[table])
