"""Charts that several sections draw: lines over epochs, changes with intervals, bars.

Torch-free. Built with altair and handed on as plain Vega-Lite (`specification`). Their colours are
those of `cnnperf.report.html.theme`; width is that of the place where they stand.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cache
from typing import Any

import altair as alt

from cnnperf.report.html.theme import COLORS, color

Values = Sequence[dict[str, Any]]
"""Rows of a chart's data, each column by name."""

ROWS = "rows"
"""Name of the rows that a chart draws, in its specification."""

LINE_HEIGHT = 220
"""Pixels of a chart of lines, without axes and legend."""

DASHES = {1: [[1, 0]], 2: [[5, 4], [1, 0]]}
"""Of one run, or of base and new."""


def specification(chart: alt.TopLevelMixin) -> dict[str, Any]:
    """A chart as plain Vega-Lite, as wide as its place, without a theme of its own."""
    content: dict[str, Any] = chart.to_dict()
    content.pop("config", None)
    content.setdefault("width", "container")
    return content


def with_values(template: dict[str, Any], values: Values, **more: Any) -> dict[str, Any]:
    """A specification of its own with these rows in it; keywords replace parts of it.

    altair checks a chart against Vega-Lite's schema, which takes half a second: charts that differ
    in their rows alone are built once.
    """
    return {**copy.deepcopy(template), "datasets": {ROWS: list(values)}, **more}


def without_values() -> alt.Chart:
    """The beginning of a chart whose rows are put in by `with_values`."""
    return alt.Chart(alt.NamedData(name=ROWS))


def lines(
    values: Values,
    *,
    title: str,
    series: Sequence[str],
    runs: Sequence[str],
    number_format: str = ".4~r",
    axis_format: str = ".4~r",
    ends: Values = (),
) -> dict[str, Any]:
    """Values over epochs: each training thin, their median strong; the first of two runs dashed.

    Args:
        values: rows with `epoch`, `value`, `series`, `run`, `seed`, and `role`: "training", or
            "median", which is drawn strong.
        title: of the value's axis.
        series: in the order of their colours.
        runs: one, or base and new.
        number_format: of a value that is pointed at, as d3 writes formats.
        axis_format: of the values along the axis.
        ends: rows of the same columns that are drawn as single marks, such as a test after the end.
    """
    template = _lines(
        title,
        tuple(series),
        tuple(runs),
        (number_format, axis_format),
        has_trainings=any(row["role"] == "training" for row in values),
        has_ends=bool(ends),
    )
    return with_values(template, [*values, *ends])


@cache
def _lines(
    title: str,
    series: tuple[str, ...],
    runs: tuple[str, ...],
    formats: tuple[str, str],
    *,
    has_trainings: bool,
    has_ends: bool,
) -> dict[str, Any]:
    everything = _over_epochs(title, series, formats[1])
    median = everything.transform_filter("datum.role === 'median'")
    tooltip = _tooltip("epoch:Q", "series:N", *_run_field(runs), number_format=formats[0])
    layers: list[Any] = [
        median.mark_line(strokeWidth=2.25).encode(strokeDash=_dash(runs), detail="run:N"),
        median.mark_circle(size=26, opacity=1).encode(tooltip=tooltip),
    ]
    if has_trainings:
        trainings = everything.transform_filter("datum.role === 'training'")
        thin = trainings.mark_line(strokeWidth=1, opacity=0.35)
        layers.insert(0, thin.encode(detail=["seed:N", "run:N"], strokeDash=_dash(runs)))
    if has_ends:
        ends = everything.transform_filter("datum.role === 'end'")
        marks = ends.mark_point(shape="diamond", size=90, filled=True, opacity=1)
        layers.append(marks.encode(tooltip=tooltip))
    return specification(alt.layer(*layers).properties(height=LINE_HEIGHT))


def _over_epochs(title: str, series: Sequence[str], axis_format: str) -> alt.Chart:
    chart: alt.Chart = without_values().encode(
        x=alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1, format="d")),
        y=alt.Y(
            "value:Q",
            title=title,
            scale=alt.Scale(zero=False),
            axis=alt.Axis(format=axis_format, tickCount=5),
        ),
        color=_series_color(series),
    )
    return chart


def _series_color(series: Sequence[str]) -> alt.Color:
    legend = alt.Legend(
        symbolType="stroke", symbolOpacity=1, columns=1 if max(map(len, series)) > 20 else 0
    )
    return alt.Color("series:N", scale=alt.Scale(domain=list(series)), legend=legend)


def _dash(runs: Sequence[str]) -> alt.StrokeDash:
    legend = alt.Legend(
        symbolType="stroke", symbolOpacity=1, symbolSize=300, symbolStrokeColor=color("ink")
    )
    return alt.StrokeDash(
        "run:N",
        scale=alt.Scale(domain=list(runs), range=DASHES[len(runs)]),
        legend=legend if len(runs) > 1 else None,
    )


def _run_field(runs: Sequence[str]) -> tuple[str, ...]:
    return ("run:N",) if len(runs) > 1 else ()


def _tooltip(*fields: str, number_format: str) -> list[alt.Tooltip]:
    named = [alt.Tooltip(field) for field in fields]
    return [*named, alt.Tooltip("value:Q", format=number_format), alt.Tooltip("of:N")]


INTERVAL_ROW = 38
"""Pixels of a row: its label, and below it the interval."""

INTERVAL_COLORS = {
    "regression": "bad",
    "improvement": "good",
    "no verdict": "doubt",
    "same": "muted",
}


def bars_with_intervals(values: Values, *, title: str) -> dict[str, Any]:
    """Changes: a row a label, a dot with its interval, on the band of what is too small to count.

    Args:
        values: rows with `label`, `shown` (the change in words), `value`, `low`, `high`, `limit`
            (half the band's width), and `kind`: a key of `INTERVAL_COLORS`. An end that is None
            reaches to the edge.
        title: of the axis, with its unit.
    """
    edge = 1.15 * max(_extent(row) for row in values) or 1.0
    rows = [_closed(row, edge) for row in values]
    kinds = [kind for kind in INTERVAL_COLORS if any(row["kind"] == kind for row in rows)]
    chart = without_values().encode(
        y=alt.Y("label:N", sort=[row["label"] for row in rows], axis=None)
    )
    layers = _interval_layers(chart, title, alt.Scale(domain=[-edge, edge], nice=False), kinds)
    content = specification(alt.layer(*layers).properties(height=INTERVAL_ROW * len(rows)))
    return with_values(content, rows)


def _interval_layers(
    chart: alt.Chart, title: str, scale: alt.Scale, kinds: Sequence[str]
) -> list[alt.Chart]:
    """From behind to the front: band, zero, interval, dot, and above them the words."""
    kind = alt.Color(
        "kind:N",
        scale=alt.Scale(domain=list(kinds), range=[color(INTERVAL_COLORS[kind]) for kind in kinds]),
    )
    shape = alt.Shape("kind:N", scale=alt.Scale(domain=list(kinds)))
    x = alt.X("value:Q", title=title, scale=scale, axis=_signed_axis())
    tooltip = [alt.Tooltip(name) for name in ("label:N", "shown:N", "kind:N")]
    return [
        chart.mark_bar(color=color("band"), height=12, yOffset=7).encode(
            x=alt.X("band_low:Q", scale=scale), x2="band_high:Q"
        ),
        without_values().mark_rule(strokeWidth=1, color=color("line")).encode(x=alt.datum(0)),
        chart.mark_rule(strokeWidth=2.5, yOffset=7).encode(
            x=alt.X("low:Q", scale=scale), x2="high:Q", color=kind
        ),
        chart.mark_point(filled=True, size=70, opacity=1, yOffset=7).encode(
            x=x, color=kind, shape=shape, tooltip=tooltip
        ),
        chart.mark_text(align="left", dy=-9, limit=700).encode(x=alt.value(0), text="caption:N"),
    ]


def _signed_axis() -> alt.Axis:
    return alt.Axis(format="+.3~r", tickCount=5, labelExpr="datum.value === 0 ? '0' : datum.label")


def _extent(row: dict[str, Any]) -> float:
    return max(abs(float(row[name] or 0.0)) for name in ("value", "low", "high", "limit"))


def _closed(row: dict[str, Any], edge: float) -> dict[str, Any]:
    """A row with every end inside the chart."""
    return {
        **row,
        "low": -edge if row["low"] is None else row["low"],
        "high": edge if row["high"] is None else row["high"],
        "band_low": -row["limit"],
        "band_high": row["limit"],
        "caption": f"{row['label']}: {row['shown']}",
    }


BAR_ROW = 34
"""Pixels of a bar and the gap below it."""


def stacked_bars(
    values: Values, *, title: str, parts: Sequence[str], rows: Sequence[str]
) -> dict[str, Any]:
    """A bar a row of parts that add up.

    Args:
        values: rows with `row`, `part`, `value`.
        title: of the axis, with its unit.
        parts: from left to right.
        rows: from top to bottom; their names are left out where there is one alone.
    """
    present = [part for part in parts if any(v["part"] == part and v["value"] for v in values)]
    ranked = [{**v, "rank": parts.index(v["part"])} for v in values if v["value"]]
    colors = [color(f"series-{1 + parts.index(part) % COLORS}") for part in present]
    tooltip = [alt.Tooltip("part:N"), alt.Tooltip("value:Q", format=".3~r", title=title)]
    labels = alt.Axis() if len(rows) > 1 else None
    chart = (
        without_values()
        .mark_bar(stroke=color("page"), strokeWidth=1, height=22)
        .encode(
            x=alt.X("value:Q", title=title, axis=alt.Axis(format=".4~r", tickCount=5)),
            y=alt.Y("row:N", sort=list(rows), title=None, axis=labels),
            color=alt.Color(
                "part:N",
                scale=alt.Scale(domain=present, range=colors),
                legend=alt.Legend(symbolType="square", columns=3),
            ),
            order=alt.Order("rank:Q"),
            tooltip=[alt.Tooltip("row:N"), *tooltip] if len(rows) > 1 else tooltip,
        )
    )
    return with_values(specification(chart.properties(height=BAR_ROW * len(rows))), ranked)
