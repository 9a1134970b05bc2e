"""Figures of a history: a series' points, its levels, and its steps.

Torch-free. Vega-Lite made with altair, as plain values; text of records stands in data alone.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from datetime import timedelta
from functools import cache
from typing import Any

import altair as alt

from cnnperf.compare.history.load import Point
from cnnperf.compare.history.series import Series, short_commit
from cnnperf.errors import printable
from cnnperf.record.metrics import METRICS
from cnnperf.report.html.charts import specification, with_values, without_values
from cnnperf.report.html.content import Figure, capitalised
from cnnperf.report.wording.history import cause, effect, levels, minute, quality

MAX_POINTS = 800
"""Points of a figure: more would be a page of many megabytes, and hide one another."""

MAX_TEXT = 52
"""Characters of a cause above its mark; the tooltip has all of it."""

HEIGHT = 220

SHARES = {"test_accuracy", "test_f1_macro"}

LINES = 3
"""Of causes above a plot, in turn: near steps would cover one another's words."""

LINE_HEIGHT = 13


def history_figure(series: Series, figure_id: str) -> Figure:
    """A series with at least two points."""
    metric = METRICS[series.metric]
    size = math.ceil(len(series.points) / MAX_POINTS)
    machine = printable(series.machine_label)
    caption = (
        f"{capitalised(metric.label)}: {metric.meaning}. Points are medians of a record's "
        "trainings with their least and greatest; lines are levels, marks are steps."
        f" {_found(series)}"
        + (f" Each point stands for up to {size} records in a row." if size > 1 else "")
    )
    return Figure(
        id=figure_id,
        title=f"{metric.label}, {printable(series.title)} on {machine}",
        caption=caption,
        specification=_specification(series, size),
    )


def _found(series: Series) -> str:
    if series.is_too_short:
        return "Too few records to tell whether there are steps."
    count = len(series.steps)
    return f"{count} step{'s' * (count != 1)}." if count else "No step."


def _specification(series: Series, size: int) -> dict[str, Any]:
    """Vega-Lite with this series' rows."""
    metric = METRICS[series.metric]
    unit = "" if metric.unit == "1" or metric.unit in metric.label else f" ({metric.unit})"
    axis_format = ".2%" if series.metric in SHARES else ".4~r"
    steps = list(_step_rows(series))
    places = frozenset((row["line"], row["align"]) for row in steps)
    template = _template(metric.label + unit, axis_format, _date_format(series), places)
    return with_values(template, [*_point_rows(series, size), *_level_rows(series), *steps])


def _date_format(series: Series) -> str:
    """As d3 writes formats: one for the whole axis."""
    length = series.points[-1].created - series.points[0].created
    return "%Y-%m-%d" if length > timedelta(days=2) else "%m-%d %H:%M"


@cache
def _template(
    title: str, axis_format: str, date_format: str, places: frozenset[tuple[int, str]]
) -> dict[str, Any]:
    """Without rows; `places` are those of the causes above the plot."""
    x = alt.X(
        "created:T",
        title="record of (UTC)",
        scale=alt.Scale(type="utc"),
        axis=alt.Axis(format=date_format, tickCount=5),
    )
    low, value = (
        alt.Y(field, title=title, scale=alt.Scale(zero=False), axis=alt.Axis(format=axis_format))
        for field in ("low:Q", "value:Q")
    )
    layers = [_ranges(x, low), _levels(x, value), _points(x, value), *_marks(x, places)]
    return specification(alt.layer(*layers).properties(height=HEIGHT))


def _rows_of(role: str) -> Any:
    return without_values().transform_filter(f"datum.role === '{role}'")


def _ranges(x: alt.X, low: alt.Y) -> Any:
    ranges = _rows_of("point").mark_rule(opacity=0.35)
    return ranges.encode(x=x, y=low, y2="high:Q")


def _points(x: alt.X, y: alt.Y) -> Any:
    columns = (
        ("when", "record of"), ("shown", "median"), ("range", "least to greatest"),
        ("n", "trainings"), ("file", "file"), ("commit", "commit"), ("remark", "remark"),
    )  # fmt: skip
    shape = alt.Shape(
        "kind:N",
        title=None,
        scale=alt.Scale(domain=["record", "outlier"]),
        legend=alt.Legend(orient="bottom"),  # above stand the causes of steps
    )
    points = _rows_of("point").mark_point(size=30, filled=True)
    return points.encode(x=x, y=y, shape=shape, tooltip=_tooltip(*columns))


def _tooltip(*columns: tuple[str, str]) -> list[alt.Tooltip]:
    return [alt.Tooltip(f"{field}:N", title=title) for field, title in columns]


def _levels(x: alt.X, y: alt.Y) -> Any:
    levels = _rows_of("level").mark_rule(strokeWidth=2)
    return levels.encode(x=x, x2="stop:T", y=y, tooltip=_tooltip(("shown", "level")))


def _marks(x: alt.X, places: frozenset[tuple[int, str]]) -> Iterator[Any]:
    """A rule a step, and its cause above the plot: lines in turn, away from the nearer edge.

    Away from there is at least half the plot, which no cause is longer than.
    """
    if not places:
        return
    names = ("when", "level", "change", "quality", "before", "after", "cause")
    scale = alt.Scale(domain=["better", "worse"])
    color = alt.Color("quality:N", scale=scale, legend=None)  # the words say it, too
    tooltip = _tooltip(*((name, name) for name in names))
    rules = _rows_of("step").mark_rule(strokeDash=[5, 3], strokeWidth=2)
    yield rules.encode(x=x, color=color, tooltip=tooltip)
    for line, align in sorted(places):
        chosen = f"datum.line === {line} && datum.align === '{align}'"
        texts = (
            _rows_of("step")
            .transform_filter(chosen)
            .mark_text(
                align=align,
                baseline="bottom",
                y=-4 - LINE_HEIGHT * line,
                limit=alt.expr("width / 2"),
            )
        )
        yield texts.encode(x=x, text="label:N", color=color, tooltip=tooltip)


def _level_rows(series: Series) -> Iterator[dict[str, Any]]:
    for each in series.levels:
        yield {
            "role": "level",
            "created": series.points[each.start].created.isoformat(),
            "stop": series.points[each.stop - 1].created.isoformat(),
            "value": each.value,
            "shown": METRICS[series.metric].show(each.value),
        }


def _step_rows(series: Series) -> Iterator[dict[str, Any]]:
    first, last = series.points[0].created, series.points[-1].created
    for number, step in enumerate(series.steps):
        moved = effect(step, series.by_ratio).partition(" (")[0]
        label = f"{quality(step)} {moved}: {cause(step.changes, most=1)}"
        is_early = step.after.created - first < last - step.after.created
        yield {
            "role": "step",
            "line": number % LINES,
            "align": "left" if is_early else "right",
            "created": step.after.created.isoformat(),
            "when": minute(step.after.created),
            "level": levels(series, step),
            "change": effect(step, series.by_ratio),
            "quality": quality(step),
            "before": _record(step.before.file, short_commit(step.before)),
            "after": _record(step.after.file, short_commit(step.after)),
            "cause": cause(step.changes),
            "label": label if len(label) <= MAX_TEXT else label[: MAX_TEXT - 1] + "…",
        }


def _record(file: str, commit: str) -> str:
    return printable(f"{file} {commit}".rstrip())


def _point_rows(series: Series, size: int) -> Iterator[dict[str, Any]]:
    """A row a point; of a long series one for each few in a row, which share a level."""
    metric = METRICS[series.metric]
    for level in series.levels:
        for start in range(level.start, level.stop, size):
            part = series.points[start : min(start + size, level.stop)]
            first = part[len(part) // 2]
            median = statistics.median(point.median for point in part)
            low, high = min(p.low for p in part), max(p.high for p in part)
            yield {
                "role": "point",
                "created": first.created.isoformat(),
                "value": median,
                "low": low,
                "high": high,
                "kind": "outlier" if size == 1 and start in series.outliers else "record",
                "when": minute(first.created),
                "shown": metric.show(median),
                "range": f"{metric.show(low)} to {metric.show(high)}",
                "n": sum(point.n for point in part),
                "file": printable(first.file) if size == 1 else f"{len(part)} records",
                "commit": short_commit(first),
                "remark": _remark(part),
            }


def _remark(part: Sequence[Point]) -> str:
    found = []
    if any(point.disturbed for point in part):
        found.append("something else disturbed the machine")
    if any(point.interrupted for point in part):
        found.append("its run was interrupted")
    return ", ".join(found) or "none"
