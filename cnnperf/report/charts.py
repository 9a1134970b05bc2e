"""Charts that several sections draw: lines over epochs, changes with intervals, heat maps, bars.

Torch-free. Built with altair and handed on as plain Vega-Lite (`specification`). Their colours are
those of `cnnperf.report.theme`; width is that of the place where they stand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from cnnperf.report.theme import color

Values = Sequence[dict[str, Any]]
"""Rows of a chart's data, each column by name."""

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


def _chart(values: Values) -> alt.Chart:
    return alt.Chart(alt.Data(values=list(values)))  # type: ignore[no-untyped-call]


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
    everything = _chart([*values, *ends]).encode(
        x=alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1, format="d")),
        y=alt.Y(
            "value:Q",
            title=title,
            scale=alt.Scale(zero=False),
            axis=alt.Axis(format=axis_format, tickCount=5),
        ),
        color=_series_color(series),
    )
    dash = _dash(runs)
    thin = (
        everything.transform_filter("datum.role === 'training'")
        .mark_line(strokeWidth=1, opacity=0.35)
        .encode(detail=["seed:N", "run:N"], strokeDash=dash)
    )
    median = everything.transform_filter("datum.role === 'median'")
    tooltip = _tooltip("epoch:Q", "series:N", *_run_field(runs), number_format=number_format)
    strong = median.mark_line(strokeWidth=2.25).encode(strokeDash=dash, detail="run:N")
    points = median.mark_circle(size=26, opacity=1).encode(tooltip=tooltip)
    layers: list[Any] = [strong, points]
    if any(row["role"] == "training" for row in values):
        layers.insert(0, thin)
    if ends:
        last = everything.transform_filter("datum.role === 'end'")
        layers.append(
            last.mark_point(shape="diamond", size=90, filled=True, opacity=1).encode(
                tooltip=tooltip
            )
        )
    return specification(alt.layer(*layers).properties(height=LINE_HEIGHT))


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
    y = alt.Y("label:N", sort=[row["label"] for row in rows], axis=None)
    scale = alt.Scale(domain=[-edge, edge], nice=False)
    kind = alt.Color(
        "kind:N",
        scale=alt.Scale(domain=kinds, range=[color(INTERVAL_COLORS[kind]) for kind in kinds]),
    )
    shape = alt.Shape("kind:N", scale=alt.Scale(domain=kinds))
    chart = _chart(rows).encode(y=y)
    x = alt.X("value:Q", title=title, scale=scale, axis=_signed_axis())
    fields = [alt.Tooltip(name) for name in ("label:N", "shown:N", "kind:N")]
    layers = (
        chart.mark_bar(color=color("band"), height=12, yOffset=7).encode(
            x=alt.X("band_low:Q", scale=scale), x2="band_high:Q"
        ),
        _chart([{"zero": 0}]).mark_rule(strokeWidth=1, color=color("line")).encode(x="zero:Q"),
        chart.mark_rule(strokeWidth=2.5, yOffset=7).encode(
            x=alt.X("low:Q", scale=scale), x2="high:Q", color=kind
        ),
        chart.mark_point(filled=True, size=70, opacity=1, yOffset=7).encode(
            x=x, color=kind, shape=shape, tooltip=fields
        ),
        chart.mark_text(align="left", dy=-9, limit=700).encode(x=alt.value(0), text="caption:N"),
    )
    return specification(alt.layer(*layers).properties(height=INTERVAL_ROW * len(rows)))


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


MAX_NUMBERED_CLASSES = 20
"""More classes than that leave no room for a count in each cell."""


def confusion_heat_map(matrix: Sequence[Sequence[int]], labels: Sequence[str]) -> dict[str, Any]:
    """Test images by true class (rows) and predicted class (columns), with their counts.

    Shades are of a row's share. Right and wrong have each a colour and a scale of their own: on one
    scale the errors of a model that is right 99 times in 100 could not be seen.
    """
    order = list(labels)
    axis = alt.Axis(ticks=False, domain=False, labelAngle=0, labelPadding=5, labelLimit=70)
    tilted = axis.copy()
    if max(map(len, order)) > 2:
        tilted.labelAngle = -45
    chart = _chart(_cells(matrix, order)).encode(
        x=alt.X("predicted:O", sort=order, title="predicted", axis=tilted),
        y=alt.Y("true:O", sort=order, title="true", axis=axis),
        tooltip=[
            alt.Tooltip("true:N"),
            alt.Tooltip("predicted:N"),
            alt.Tooltip("count:Q", format=","),
            alt.Tooltip("share:Q", format=".2%", title="share of the true class"),
        ],
    )
    layers: list[Any] = [
        _shaded(chart, "datum.true === datum.predicted", color("series-1")),
        _shaded(chart, "datum.true !== datum.predicted", color("series-2")),
    ]
    if len(order) <= MAX_NUMBERED_CLASSES:
        layers.append(_counts(chart, matrix))
    height = max(LINE_HEIGHT, min(600, 26 * len(order)))
    return specification(
        alt.layer(*layers).resolve_scale(opacity="independent").properties(height=height)
    )


def _cells(matrix: Sequence[Sequence[int]], labels: list[str]) -> list[dict[str, Any]]:
    """A row a cell; `strong` says where the shade is dark enough for light figures."""
    shares = [[count / (sum(row) or 1) for count in row] for row in matrix]
    wrong = [share for i, row in enumerate(shares) for j, share in enumerate(row) if i != j]
    most = {True: 1.0, False: max(wrong, default=0.0) or 1.0}
    return [
        {
            "true": labels[i],
            "predicted": labels[j],
            "count": count,
            "share": shares[i][j],
            "shade": shares[i][j] / most[i == j],
            "strong": shares[i][j] / most[i == j] > 0.55,
        }
        for i, row in enumerate(matrix)
        for j, count in enumerate(row)
    ]


def _shaded(chart: alt.Chart, which: str, fill: str) -> alt.Chart:
    shaded: alt.Chart = (
        chart.transform_filter(which)
        .mark_rect(color=fill, stroke=color("page"), strokeWidth=1)
        .encode(
            fillOpacity=alt.FillOpacity(
                "shade:Q", scale=alt.Scale(domain=[0, 1], range=[0.04, 1]), legend=None
            )
        )
    )
    return shaded


def _counts(chart: alt.Chart, matrix: Sequence[Sequence[int]]) -> alt.Chart:
    digits = max((len(str(count)) for row in matrix for count in row), default=1)
    counts: alt.Chart = (
        chart.transform_filter("datum.count > 0")
        .mark_text(fontSize=10 if digits < 5 else 8)
        .encode(
            text="count:Q",
            color=alt.condition(
                "datum.strong", alt.value(color("on-strong")), alt.value(color("ink"))
            ),
        )
    )
    return counts


BAR_ROW = 34


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
    range_ = [color(f"series-{1 + parts.index(part) % 10}") for part in present]
    chart = (
        _chart(ranked)
        .mark_bar(stroke=color("page"), strokeWidth=1, height=22)
        .encode(
            x=alt.X("value:Q", title=title, axis=alt.Axis(format="~s", tickCount=5)),
            y=alt.Y(
                "row:N", sort=list(rows), title=None, axis=alt.Axis() if len(rows) > 1 else None
            ),
            color=alt.Color(
                "part:N",
                scale=alt.Scale(domain=present, range=range_),
                legend=alt.Legend(symbolType="square", columns=3),
            ),
            order=alt.Order("rank:Q"),
            tooltip=[
                *([alt.Tooltip("row:N")] if len(rows) > 1 else []),
                alt.Tooltip("part:N"),
                alt.Tooltip("value:Q", format=".3s", title=title),
            ],
        )
    )
    return specification(chart.properties(height=BAR_ROW * len(rows)))
