"""Figures of a history: the points of a series, its levels, and its steps."""

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
from cnnperf.report.html.charts import ROWS, metric_axis, rows_of, specification, tooltip_of
from cnnperf.report.html.content import Figure, capitalised, counted
from cnnperf.report.wording.history import cause, effect, levels, minute, quality

MAX_POINTS = 800
"""Points of a figure: more would hide one another and make a page of many megabytes."""

MAX_LABEL_CHARS = 52
"""Characters of a cause above its mark; the tooltip has all of it."""

LABEL_LINES = 3
"""Lines of causes above a plot, used in turn: labels of close steps would overlap."""

LABEL_HEIGHT = 13


def history_figure(series: Series, figure_id: str) -> Figure:
    """Draw a series with at least two points."""
    metric = METRICS[series.metric]
    size = math.ceil(len(series.points) / MAX_POINTS)
    found = counted(len(series.steps), "step") if series.steps else "No step"
    if series.is_too_short:
        found = "Too few records to look for steps"
    caption = (
        f"{capitalised(metric.label)}: {metric.meaning}. {found}. Points are medians of a record's "
        "trainings, thin lines their range; thick lines are levels, dashed lines are steps."
        + (f" Each point stands for up to {size} records in a row." if size > 1 else "")
    )
    steps = list(_step_rows(series))
    places = frozenset((row["line"], row["align"]) for row in steps)
    rows = [*_point_rows(series, size), *_level_rows(series), *steps]
    template = _template(series.metric, _date_format(series), places)
    return Figure(
        id=figure_id,
        title=f"{metric.label}, {printable(series.title)} on {printable(series.machine_label)}",
        caption=caption,
        specification={**template, "datasets": {ROWS: rows}},
    )


def _date_format(series: Series) -> str:
    """Return one d3 format for the whole axis."""
    length = series.points[-1].created - series.points[0].created
    return "%Y-%m-%d" if length > timedelta(days=2) else "%m-%d %H:%M"


@cache
def _template(metric: str, date_format: str, places: frozenset[tuple[int, str]]) -> dict[str, Any]:
    """Return the layers without rows: altair takes longer than all else on a page of many series.

    `places` are those of the causes above the plot.
    """
    title, tick_format = metric_axis(metric)
    x = alt.X(
        "created:T",
        title="record of (UTC)",
        scale=alt.Scale(type="utc"),
        axis=alt.Axis(format=date_format, tickCount=5),
    )
    low, value = (
        alt.Y(field, title=title, scale=alt.Scale(zero=False), axis=alt.Axis(format=tick_format))
        for field in ("low:Q", "value:Q")
    )
    shape = alt.Shape(
        "kind:N",
        title=None,
        scale=alt.Scale(domain=["record", "outlier"]),
        legend=alt.Legend(orient="bottom"),  # the causes of steps are above
    )
    tooltip = tooltip_of(
        when="record of", shown="median", range="least to greatest", n="trainings", file="file",
        commit="commit", remark="remark",
    )  # fmt: skip
    ranges = rows_of("point").mark_rule(opacity=0.35)
    thick = rows_of("level").mark_rule(strokeWidth=2)
    points = rows_of("point").mark_point(size=30, filled=True)
    return specification(
        [
            ranges.encode(x=x, y=low, y2="high:Q"),
            thick.encode(x=x, x2="stop:T", y=value, tooltip=tooltip_of(shown="level")),
            points.encode(x=x, y=value, shape=shape, tooltip=tooltip),
            *_step_layers(x, places),
        ]
    )


def _step_layers(x: alt.X, places: frozenset[tuple[int, str]]) -> Iterator[Any]:
    """Yield a line for each step, and its cause above the plot.

    A cause starts at its step and runs away from the nearer edge: there it has at least half the
    plot, which is its limit.
    """
    if not places:
        return
    scale = alt.Scale(domain=["better", "worse"])
    color = alt.Color("quality:N", scale=scale, legend=None)  # the words say it, too
    names = ("when", "level", "change", "quality", "before", "after", "cause")
    tooltip = tooltip_of(**{name: name for name in names})
    rules = rows_of("step").mark_rule(strokeDash=[5, 3], strokeWidth=2)
    yield rules.encode(x=x, color=color, tooltip=tooltip)
    for line, align in sorted(places):
        texts = rows_of("step").transform_filter(
            f"datum.line === {line} && datum.align === '{align}'"
        )
        above = -4 - LABEL_HEIGHT * line
        texts = texts.mark_text(
            align=align, baseline="bottom", y=above, limit=alt.expr("width / 2")
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
        change = effect(step, series.by_ratio)
        label = f"{quality(step)} {change.partition(' (')[0]}: {cause(step.changes, most=1)}"
        is_early = step.after.created - first < last - step.after.created
        before, after = (
            printable(f"{point.file} {short_commit(point)}".rstrip())
            for point in (step.before, step.after)
        )
        yield {
            "role": "step",
            "line": number % LABEL_LINES,
            "align": "left" if is_early else "right",
            "created": step.after.created.isoformat(),
            "when": minute(step.after.created),
            "level": levels(series, step),
            "change": change,
            "quality": quality(step),
            "before": before,
            "after": after,
            "cause": cause(step.changes),
            "label": label if len(label) <= MAX_LABEL_CHARS else label[: MAX_LABEL_CHARS - 1] + "…",
        }


def _point_rows(series: Series, size: int) -> Iterator[dict[str, Any]]:
    """Yield a row for each point, or for each `size` points in a row of one level."""
    metric = METRICS[series.metric]
    for level in series.levels:
        for start in range(level.start, level.stop, size):
            part = series.points[start : min(start + size, level.stop)]
            middle = part[len(part) // 2]
            median = statistics.median(point.median for point in part)
            low, high = min(p.low for p in part), max(p.high for p in part)
            yield {
                "role": "point",
                "created": middle.created.isoformat(),
                "value": median,
                "low": low,
                "high": high,
                "kind": "outlier" if size == 1 and start in series.outliers else "record",
                "when": minute(middle.created),
                "shown": metric.show(median),
                "range": f"{metric.show(low)} to {metric.show(high)}",
                "n": sum(point.n for point in part),
                "file": printable(middle.file) if size == 1 else f"{len(part)} records",
                "commit": short_commit(middle),
                "remark": _remark(part),
            }


def _remark(part: Sequence[Point]) -> str:
    disturbed = any(point.disturbed for point in part)
    interrupted = any(point.interrupted for point in part)
    found = [
        *(["something else disturbed the machine"] * disturbed),
        *(["its run was interrupted"] * interrupted),
    ]
    return ", ".join(found) or "none"
