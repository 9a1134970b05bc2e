"""Two runs, judged: what changed, how sure that is, and how the environments differ.

Verdicts and their words are those of `cnnperf compare`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from cnnperf.compare.verdicts import (
    IMPROVEMENTS,
    REGRESSIONS,
    CaseVerdicts,
    Comparison,
    MetricVerdict,
)
from cnnperf.errors import printable
from cnnperf.record.metrics import ABSENT, METRICS
from cnnperf.report.html.charts import bars_with_intervals
from cnnperf.report.html.content import (
    Cell,
    Figure,
    Row,
    Section,
    Table,
    capitalised,
    number_columns,
    text_columns,
)
from cnnperf.report.html.sections.runs import row_of
from cnnperf.report.wording.comparison import Row as Judged
from cnnperf.report.wording.comparison import effect, rows, where_they_part
from cnnperf.report.wording.notes import asides

FIGURES = {
    "train_seconds": ("Change in train time", "new relative to base, in %; below 0 is faster"),
    "test_accuracy": ("Change in test accuracy", "new minus base, in points; above 0 is better"),
}
"""Metrics with a figure: its title and axis."""

COLUMNS = (
    *text_columns(case="case", metric="metric", verdict="verdict"),
    *number_columns(base="base", new="new", change="change", change_low="from", change_high="to"),
    *text_columns(why="why"),
    *number_columns(threshold="threshold"),
    *text_columns(change_kind="change is"),
    *number_columns(n_base="n base", n_new="n new"),
    *text_columns(gates="gates"),
)


def verdict_sections(comparison: Comparison) -> list[Section]:
    """Build the verdict, and the differences between the environments."""
    return [_verdict_section(comparison), _changes_section(comparison)]


def _verdict_section(comparison: Comparison) -> Section:
    return Section(
        id="verdict",
        title=f"Verdict: {comparison.verdict}",
        paragraphs=[
            "Look at the coloured rows: they decide the verdict. A change counts when its whole "
            "interval lies beyond the threshold. A ratio is new divided by base; a difference is "
            "new minus base. Rows that do not gate are for information.",
            *_remarks(comparison),
        ],
        figures=list(_figures(comparison)),
        tables=[verdict_table(comparison)],
    )


def _remarks(comparison: Comparison) -> Iterator[str]:
    for case in comparison.cases:
        for aside in asides(case, comparison.sides):
            yield f"{capitalised(aside.topic)}: {case.id}: {aside.text}."
    if comparison.new_cases:
        yield f"Only in new, so not judged: {', '.join(comparison.new_cases)}."
    yield from (f"{capitalised(note)}." for note in comparison.notes)


def verdict_table(comparison: Comparison) -> Table:
    """Build a row for each judged metric; failed gates first, then by severity."""
    return Table(
        id="table-verdicts",
        caption="Verdicts, most serious first: medians, change with its interval, and why",
        columns=COLUMNS,
        rows=[_verdict_row(row) for row in rows(comparison.cases)],
        is_closed=False,
    )


def _verdict_row(row: Judged) -> Row:
    judged, basis = _measured(row.name, row.metric)
    return row_of(
        row.case.id,
        row.subject,
        row.verdict,
        *judged,
        row.explanation,
        *basis,
        "yes" if row.gates else "no",
        style=row.verdict if row.gates else None,
    )


Cells = list[tuple[str, Cell] | str]


def _measured(name: str | None, metric: MetricVerdict | None) -> tuple[Cells, Cells]:
    """Return the cells from `base` to `to`, and those from `threshold` to `n new`."""
    if name is None or metric is None:
        return [(ABSENT, None)] * 5, [(ABSENT, None), "", (ABSENT, None), (ABSENT, None)]
    by_ratio = metric.difference is None
    change = metric.ratio if by_ratio else metric.difference
    limit = f"{100 * metric.threshold:.3g} {'%' if by_ratio else 'points'}"
    judged: Cells = [
        *(_median(name, value) for value in (metric.base, metric.new)),
        *(_change(value, by_ratio=by_ratio) for value in (change, metric.low, metric.high)),
    ]
    basis: Cells = [
        (limit, metric.threshold),
        "" if change is None else "ratio" if by_ratio else "difference",
        (str(metric.n_base), metric.n_base),
        (str(metric.n_new), metric.n_new),
    ]
    return judged, basis


def _median(name: str, value: float | None) -> tuple[str, Cell]:
    if value is None or not math.isfinite(value):
        return ABSENT, None
    return (METRICS[name].show(value) if name in METRICS else f"{value:.4g}"), value


def _change(value: float | None, *, by_ratio: bool) -> tuple[str, Cell]:
    if value is None or not math.isfinite(value):
        return ABSENT, None
    return (f"{value:.3f}" if by_ratio else f"{100 * value:+z.2f} points"), value


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
        "kind": _kind(metric),
    }


def _kind(metric: MetricVerdict) -> str:
    if metric.verdict in REGRESSIONS:
        return "regression"
    if metric.verdict in IMPROVEMENTS:
        return "improvement"
    return "same" if metric.verdict == "same" else "no verdict"


# --- environments -------------------------------------------------------------------------------


def _changes_section(comparison: Comparison) -> Section:
    changes = comparison.environment_changes
    if not changes:
        words = "The two environments have no recorded difference."
        return Section(id="changes", title="What differs", paragraphs=[words])
    table_rows = [
        row_of(
            change.field,
            *zip(where_they_part(change.base, change.new), (change.base, change.new), strict=True),
            "yes, unless allowed with --across" if change.forbids else "no",
            style="not comparable" if change.forbids else None,
        )
        for change in changes
    ]
    table = Table(
        id="table-changes",
        caption="Fields in which the two environments differ",
        columns=text_columns(field="field", base="base", new="new", forbids="forbids comparing"),
        rows=table_rows,
    )
    look = (
        "Look here for the cause of a change. A field that forbids comparing makes verdicts "
        "impossible, unless it is what you want to test (`--across`)."
    )
    return Section(id="changes", title="What differs", paragraphs=[look], tables=[table])
