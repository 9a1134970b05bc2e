"""The page of a history: a summary, every step, every series, and a figure for each series."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import altair as alt

from cnnperf.compare.history.load import Loaded, Point
from cnnperf.compare.history.series import Series, Step, by_case, short_commit
from cnnperf.compare.history.steps import MIN_RECORDS
from cnnperf.errors import printable
from cnnperf.record.files import name_of
from cnnperf.record.metrics import Metric
from cnnperf.report.html.charts import ROWS, metric_axis, rows_of, specification, tooltip_of
from cnnperf.report.html.content import (
    Figure,
    Page,
    Row,
    Section,
    Table,
    number_columns,
    text_columns,
)
from cnnperf.report.html.sections.runs import count_cell, figure_cell, row_of
from cnnperf.report.wording import capitalised, counted
from cnnperf.report.wording.history import cause, effect, levels, minute, quality, span, summary

STEP_COLUMNS = (
    *text_columns(created="record of", case="case", machine="machine", metric="metric"),
    *number_columns(old="from", new="to", change="change (95 % interval)"),
    *text_columns(
        cause="what changed",
        quality="quality",
        before="last record before",
        after="first record after",
    ),
)

SERIES_COLUMNS = (
    *text_columns(case="case", machine="machine", metric="metric"),
    *number_columns(records="records"),
    *text_columns(period="first to last"),
    *number_columns(latest="latest", steps="steps"),
)


def history_page(loaded: Loaded, series: Sequence[Series]) -> Page:
    """Show the series of a folder of records."""
    points = [point for each in series for point in (each.points[0], each.points[-1])]
    first, last = min(p.created for p in points), max(p.created for p in points)
    machines = ", ".join(dict.fromkeys(printable(each.machine_label) for each in series))
    return Page(
        title=f"History of {name_of(loaded.folder)}",
        lead=(
            summary(series, loaded.records) + ".",
            f"Records of {span(first, last)} (UTC) on {machines}.",
        ),
        sections=(_steps_section(loaded, series), _series_section(loaded, series), *_cases(series)),
    )


def _steps_section(loaded: Loaded, series: Sequence[Series]) -> Section:
    found = [(each, step) for each in series for step in each.steps]
    found.sort(key=lambda pair: pair[1].after.created, reverse=True)
    table = Table(
        id="steps",
        caption="Every change of level, newest first",
        columns=STEP_COLUMNS,
        rows=[_step_row(loaded.folder, each, step) for each, step in found],
    )
    return Section(
        id="history-steps",
        title="Steps",
        paragraphs=(
            "Look at the red rows: from there on a metric is worse. A step is a change of level "
            "whose whole 95 % interval lies beyond the metric's threshold. The column of changes "
            "compares hardware, software, settings and commits of the records before and after "
            "it; the cause may be something else.",
            *(() if found else ("No series has a step.",)),
        ),
        tables=(table,) if found else (),
    )


def _step_row(folder: Path, series: Series, step: Step) -> Row:
    return row_of(
        (minute(step.after.created), step.after.created.isoformat()),
        *_key_cells(series),
        figure_cell(step.old, series.described.format),
        figure_cell(step.new, series.described.format),
        (effect(series, step), step.estimate),
        cause(step.changes, most=10),
        quality(step),
        *(_record(folder, point) for point in (step.before, step.after)),
        style=quality(step),
    )


def _key_cells(series: Series) -> list[tuple[str, str]]:
    texts = [printable(text) for text in (series.title, series.machine_label)]
    return [*zip(texts, texts, strict=True), (series.described.label, series.metric)]


def _record(folder: Path, point: Point) -> str:
    name = Path(point.file).relative_to(folder).as_posix()
    commit = short_commit(point)
    return printable(f"{name} ({commit})" if commit else name)


def _series_section(loaded: Loaded, series: Sequence[Series]) -> Section:
    table = Table(
        id="series",
        caption="Every series",
        columns=SERIES_COLUMNS,
        rows=[_series_row(each) for each in series],
    )
    return Section(
        id="history-series",
        title="Series",
        paragraphs=(
            "A series has one case, machine and metric, and one fingerprint (model, data, recipe, "
            "precision). Trainings with another fingerprint cannot be compared and form another "
            "series.",
            f"Steps need {MIN_RECORDS} records or more.",
            *map(printable, (*loaded.warnings, *loaded.notes)),
        ),
        tables=(table,),
    )


def _series_row(series: Series) -> Row:
    points = series.points
    return row_of(
        *_key_cells(series),
        count_cell(len(points)),
        span(points[0].created, points[-1].created),
        figure_cell(points[-1].median, series.described.format),
        figure_cell(None if series.is_too_short else len(series.steps), str),
    )


def _cases(series: Sequence[Series]) -> Iterator[Section]:
    """Yield a section for each case with a series to draw: two points or more."""
    for number, (case_id, found) in enumerate(by_case(series), start=1):
        drawn = [each for each in found if len(each.points) > 1]
        figures = [
            history_figure(each, f"history-{number}-{place}-{each.metric.replace('_', '-')}")
            for place, each in enumerate(drawn, start=1)
        ]
        if figures:
            yield Section(id=f"history-{number}", title=printable(case_id), figures=figures)


MAX_POINTS = 800
"""Points of a figure: more would hide one another and make a page of many megabytes."""

MAX_LABEL_CHARS = 52
"""Characters of a cause above its mark; the tooltip has all of it."""

LABEL_LINES = 3
"""Lines of causes above a plot, used in turn: labels of close steps would overlap."""

LABEL_HEIGHT = 13


def history_figure(series: Series, figure_id: str) -> Figure:
    """Draw a series with at least two points."""
    metric = series.described
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
    is_long = series.points[-1].created - series.points[0].created > timedelta(days=2)
    template = _template(metric, "%Y-%m-%d" if is_long else "%m-%d %H:%M", places)
    return Figure(
        id=figure_id,
        title=f"{metric.label}, {printable(series.title)} on {printable(series.machine_label)}",
        caption=caption,
        specification={**template, "datasets": {ROWS: rows}},
    )


@cache
def _template(
    metric: Metric, date_format: str, places: frozenset[tuple[int, str]]
) -> dict[str, Any]:
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
            "shown": series.described.show(each.value),
        }


def _step_rows(series: Series) -> Iterator[dict[str, Any]]:
    first, last = series.points[0].created, series.points[-1].created
    for number, step in enumerate(series.steps):
        change = effect(series, step)
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
    metric = series.described
    for level in series.levels:
        for start in range(level.start, level.stop, size):
            part = series.points[start : min(start + size, level.stop)]
            middle = part[len(part) // 2]
            median = statistics.median(point.median for point in part)
            low, high = min(p.low for p in part), max(p.high for p in part)
            remarks = ["something else disturbed the machine"] * any(p.disturbed for p in part)
            remarks += ["its run was interrupted"] * any(p.interrupted for p in part)
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
                "remark": ", ".join(remarks) or "none",
            }
