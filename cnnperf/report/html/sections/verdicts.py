"""Two runs, judged: what changed, how sure that is, and what differs between the environments.

Torch-free. The verdicts are those of `cnnperf compare`, and so are the words.
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
    Column,
    Figure,
    Row,
    Section,
    Table,
    capitalised,
    number_column,
)
from cnnperf.report.html.sections.runs import row_of
from cnnperf.report.wording.comparison import Row as Judged
from cnnperf.report.wording.comparison import effect, rows, where_they_part
from cnnperf.report.wording.notes import asides

FIGURES = {
    "train_seconds": ("Change in train time", "new over base, in %; below 0 is faster"),
    "test_accuracy": ("Change in test accuracy", "new less base, in points; above 0 is better"),
}
"""Metrics that are drawn: title, and what the axis says."""

COLUMNS = (
    Column(name="case", label="case"),
    Column(name="metric", label="metric"),
    Column(name="verdict", label="verdict"),
    number_column("base", "base"),
    number_column("new", "new"),
    number_column("change", "change"),
    number_column("change_low", "from"),
    number_column("change_high", "to"),
    Column(name="why", label="why"),
    number_column("threshold", "counts from"),
    Column(name="change_kind", label="change is"),
    number_column("n_base", "n base"),
    number_column("n_new", "n new"),
    Column(name="gates", label="gates"),
)


def verdict_sections(comparison: Comparison) -> list[Section]:
    """The verdict, and what differs between the environments."""
    return [_verdict_section(comparison), _changes_section(comparison)]


def _verdict_section(comparison: Comparison) -> Section:
    return Section(
        id="verdict",
        title=f"Verdict: {comparison.verdict}",
        paragraphs=[
            "A change counts where its whole interval lies beyond the threshold; a ratio is new "
            "over base, a difference new less base. What gates nothing is for looking.",
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
        yield f"Only in new, and gating nothing: {', '.join(comparison.new_cases)}."
    yield from (f"{capitalised(note)}." for note in comparison.notes)


def verdict_table(comparison: Comparison) -> Table:
    """What fails a gate first, then the gravest."""
    return Table(
        id="table-verdicts",
        caption="Verdicts: medians, change with its interval, and why",
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
    """The cells from `base` to `to`, and those from `counts from` to `n new`."""
    if name is None or metric is None:
        return [(ABSENT, None)] * 5, [(ABSENT, None), "", (ABSENT, None), (ABSENT, None)]
    by_ratio = metric.difference is None
    change = metric.ratio if by_ratio else metric.difference
    limit = f"{100 * metric.threshold:.3g} {'%' if by_ratio else 'points'}"
    judged: Cells = [
        _median(name, metric.base),
        _median(name, metric.new),
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
        values = [
            drawn
            for case in comparison.cases
            if (metric := case.metrics.get(name)) is not None
            and (drawn := _interval(case, metric)) is not None
        ]
        if values:
            yield Figure(
                id=f"change-{name.replace('_', '-')}",
                title=title,
                caption=f"{_level(comparison, name)}; grey: too small to count. A line that "
                "reaches the edge has no end there.",
                specification=bars_with_intervals(values, title=axis),
            )


def _level(comparison: Comparison, name: str) -> str:
    levels = {case.metrics[name].confidence for case in comparison.cases if name in case.metrics}
    return " or ".join(f"{100 * level:.4g} %" for level in sorted(levels)) + " intervals"


def _interval(case: CaseVerdicts, metric: MetricVerdict) -> dict[str, Any] | None:
    """A change in percent or points; None where none could be estimated."""
    offset = 0.0 if metric.ratio is None else 1.0
    value = metric.ratio if metric.ratio is not None else metric.difference
    if value is None or not math.isfinite(value):
        return None
    low, high = (
        None if end is None or not math.isfinite(end) else 100 * (end - offset)
        for end in (metric.low, metric.high)
    )
    return {
        "label": printable(case.id),
        "shown": f"{metric.verdict}, {_in_words(metric)}",
        "value": 100 * (value - offset),
        "low": low,
        "high": high,
        "limit": 100 * metric.threshold,
        "kind": _kind(metric),
    }


def _in_words(metric: MetricVerdict) -> str:
    if metric.ratio is None:
        return effect(metric).partition(" (")[0]
    return f"{100 * (metric.ratio - 1):+z.1f} %"


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
        words = "No difference between the two environments is recorded."
        return Section(id="changes", title="What differs", paragraphs=[words])
    columns = [
        Column(name=name, label=text)
        for name, text in (
            ("field", "field"),
            ("base", "base"),
            ("new", "new"),
            ("forbids", "forbids comparing"),
        )
    ]
    table_rows = [
        row_of(
            change.field,
            *zip(where_they_part(change.base, change.new), (change.base, change.new), strict=True),
            "yes, unless asked with --across" if change.forbids else "no",
            style="not comparable" if change.forbids else None,
        )
        for change in changes
    ]
    caption = "Fields in which the two environments differ"
    table = Table(id="table-changes", caption=caption, columns=columns, rows=table_rows)
    return Section(id="changes", title="What differs", tables=[table])
