"""Charts that several sections draw: lines over epochs, changes with intervals, stacked bars.

altair builds them; `specification` returns plain Vega-Lite, as wide as its place on the page.
Colours are names of `cnnperf.report.html.theme`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import altair as alt

from cnnperf.record.metrics import Metric, format_percent, format_share
from cnnperf.report.html.theme import COLORS, color

Values = Sequence[dict[str, Any]]
"""Rows of a chart's data, each column by name."""

ROWS = "rows"
LINE_HEIGHT = 220
"""Pixels of a chart of lines, without axes and legend."""

DASHES = {1: [[1, 0]], 2: [[5, 4], [1, 0]]}
"""Dashes and gaps of one run, or of base and new."""


def rows_of(role: str | None = None) -> Any:
    """Start a chart on the rows with this `role`, or on all rows."""
    chart = alt.Chart(alt.NamedData(name=ROWS))
    return chart if role is None else chart.transform_filter(f"datum.role === '{role}'")


def specification(
    layers: Sequence[Any], values: Iterable[dict[str, Any]] = (), height: int = LINE_HEIGHT
) -> dict[str, Any]:
    """Return layers, from back to front, as plain Vega-Lite with these rows."""
    chart = alt.layer(*layers) if len(layers) > 1 else layers[0]
    content: dict[str, Any] = chart.to_dict(validate=False)  # altair checked each part already
    content.pop("config", None)
    return {"width": "container", **content, "height": height, "datasets": {ROWS: list(values)}}


def tooltip_of(**titles: str) -> list[alt.Tooltip]:
    """Describe a tooltip of texts; keywords are a row's field and its title."""
    return [alt.Tooltip(f"{field}:N", title=title) for field, title in titles.items()]


TICK_FORMATS: dict[Callable[[float], str], str] = {format_percent: ".2%", format_share: ".1%"}
"""d3 formats of axes, by the format of their metric; others are plain numbers."""


def metric_axis(metric: Metric) -> tuple[str, str]:
    """Return the title of a metric's axis, and the d3 format of its ticks."""
    unit = "" if metric.unit in ("1", "1/s", metric.label) else f" ({metric.unit})"
    return metric.label + unit, TICK_FORMATS.get(metric.format, ".4~r")


class Axis(NamedTuple):
    """A value's axis; formats are d3's."""

    title: str
    number_format: str
    """How a tooltip shows a value."""
    tick_format: str


def lines(values: Values, *, axis: Axis, runs: Sequence[str], ends: Values = ()) -> dict[str, Any]:
    """Draw values over epochs: each training thin, the median strong, the first of two runs dashed.

    Args:
        values: rows with `epoch`, `value`, `series`, `run`, `seed`, and `role`: "training" or
            "median".
        axis: of the value.
        runs: one, or base and new.
        ends: rows with the same columns and the role "end", such as a test after the last epoch.
    """
    series = list(dict.fromkeys(row["series"] for row in values))
    several = len(runs) > 1
    stroke: dict[str, Any] = {"symbolType": "stroke", "symbolOpacity": 1}
    legend = alt.Legend(**stroke, columns=1 if max(map(len, series)) > 20 else 0)
    y_axis = alt.Axis(format=axis.tick_format, tickCount=5)
    place = {
        "x": alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1, format="d")),
        "y": alt.Y("value:Q", title=axis.title, scale=alt.Scale(zero=False), axis=y_axis),
        "color": alt.Color("series:N", scale=alt.Scale(domain=series), legend=legend),
    }
    run_legend = alt.Legend(**stroke, symbolSize=300, symbolStrokeColor=color("ink"))
    dashes = alt.Scale(domain=list(runs), range=DASHES[len(runs)])
    dash = alt.StrokeDash("run:N", scale=dashes, legend=run_legend if several else None)
    fields = ["epoch:Q", "series:N", *(["run:N"] * several)]
    value = alt.Tooltip("value:Q", format=axis.number_format)
    tooltip = [*map(alt.Tooltip, fields), value, alt.Tooltip("of:N")]
    strong = rows_of("median").encode(**place)
    layers = [
        strong.mark_line(strokeWidth=2.25).encode(strokeDash=dash, detail="run:N"),
        strong.mark_circle(size=26, opacity=1).encode(tooltip=tooltip),
    ]
    if any(row["role"] == "training" for row in values):
        thin = rows_of("training").mark_line(strokeWidth=1, opacity=0.35)
        layers.insert(0, thin.encode(**place, detail=["seed:N", "run:N"], strokeDash=dash))
    if ends:
        diamonds = rows_of("end").mark_point(shape="diamond", size=90, filled=True, opacity=1)
        layers.append(diamonds.encode(**place, tooltip=tooltip))
    return specification(layers, [*values, *ends])


INTERVAL_ROW = 38
"""Pixels of a row: its label, and the interval below it."""

INTERVAL_COLORS = {
    "regression": "bad",
    "improvement": "good",
    "no verdict": "doubt",
    "same": "muted",
    "slow": "bad",
    "wrong": "bad",
    "failed": "bad",
    "undecided": "doubt",
    "fast": "good",
    "alone": "muted",
    "normal": "muted",
}


def bars_with_intervals(values: Values, *, title: str) -> dict[str, Any]:
    """Draw changes: a dot with its interval for each label, on the band of what is too small.

    Args:
        values: rows with `label`, `shown` (the change in words), `value`, `low`, `high`, `limit`
            (half the band's width), and `kind`: a key of `INTERVAL_COLORS`. An end that is None
            reaches the edge.
        title: of the axis, with its unit.
    """
    ends = ("value", "low", "high", "limit")
    edge = 1.15 * max(abs(row[end] or 0.0) for row in values for end in ends) or 1.0
    rows = [_closed(row, edge) for row in values]
    kinds = [kind for kind in INTERVAL_COLORS if any(row["kind"] == kind for row in rows)]
    scale = alt.Scale(domain=[-edge, edge], nice=False)
    fill = [color(INTERVAL_COLORS[kind]) for kind in kinds]
    kind_color = alt.Color("kind:N", scale=alt.Scale(domain=kinds, range=fill))
    signed = alt.Axis(
        format="+.3~r", tickCount=5, labelExpr="datum.value === 0 ? '0' : datum.label"
    )
    chart = rows_of().encode(y=alt.Y("label:N", sort=[row["label"] for row in rows], axis=None))
    layers = [
        chart.mark_bar(color=color("band"), height=12, yOffset=7).encode(
            x=alt.X("band_low:Q", scale=scale), x2="band_high:Q"
        ),
        rows_of().mark_rule(strokeWidth=1, color=color("line")).encode(x=alt.datum(0)),
        chart.mark_rule(strokeWidth=2.5, yOffset=7).encode(
            x=alt.X("low:Q", scale=scale), x2="high:Q", color=kind_color
        ),
        chart.mark_point(filled=True, size=70, opacity=1, yOffset=7).encode(
            x=alt.X("value:Q", title=title, scale=scale, axis=signed),
            color=kind_color,
            shape=alt.Shape("kind:N", scale=alt.Scale(domain=kinds)),
            tooltip=[alt.Tooltip(name) for name in ("label:N", "shown:N", "kind:N")],
        ),
        chart.mark_text(align="left", dy=-9, limit=700).encode(x=alt.value(0), text="caption:N"),
    ]
    return specification(layers, rows, INTERVAL_ROW * len(rows))


def _closed(row: dict[str, Any], edge: float) -> dict[str, Any]:
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
    """Draw one bar for each row, made of parts that add up; a single row has no label.

    `values` have `row`, `part` and `value`; `title` names the axis with its unit.
    """
    present = [part for part in parts if any(v["part"] == part and v["value"] for v in values)]
    colors = [color(f"series-{1 + parts.index(part) % COLORS}") for part in present]
    several = len(rows) > 1
    tooltip = [alt.Tooltip("part:N"), alt.Tooltip("value:Q", format=".3~r", title=title)]
    chart = rows_of().mark_bar(stroke=color("page"), strokeWidth=1, height=22)
    chart = chart.encode(
        x=alt.X("value:Q", title=title, axis=alt.Axis(format=".4~r", tickCount=5)),
        y=alt.Y("row:N", sort=list(rows), title=None, axis=alt.Axis() if several else None),
        color=alt.Color(
            "part:N",
            scale=alt.Scale(domain=present, range=colors),
            legend=alt.Legend(symbolType="square", columns=3),
        ),
        order=alt.Order("rank:Q"),
        tooltip=[alt.Tooltip("row:N"), *tooltip] if several else tooltip,
    )
    ranked = [{**v, "rank": parts.index(v["part"])} for v in values if v["value"]]
    return specification([chart], ranked, BAR_ROW * len(rows))


MAX_NUMBERED_CLASSES = 20
"""With more classes there is no room for a count in each cell."""

DARK_SHADE = 0.55
"""From this shade on, light digits are easier to read than dark ones."""


def confusion_heat_map(matrix: Sequence[Sequence[int]], labels: Sequence[str]) -> dict[str, Any]:
    """Draw a square matrix of counts of test images by [true class][predicted class].

    Right and wrong cells have a colour and scale each, or rare errors would be invisible.
    """
    tooltip = [
        alt.Tooltip("true:N"),
        alt.Tooltip("predicted:N"),
        alt.Tooltip("count:Q", format=","),
        alt.Tooltip("share:Q", format=".2%", title="share of the true class"),
    ]
    axis: dict[str, Any] = {
        "ticks": False, "domain": False, "labelPadding": 5, "labelLimit": 70, "labelOverlap": False
    }  # fmt: skip
    angle = -45 if max(map(len, labels)) > 2 else 0
    chart = rows_of().encode(
        x=alt.X("predicted:O", sort=list(labels), axis=alt.Axis(**axis, labelAngle=angle)),
        y=alt.Y("true:O", sort=list(labels), axis=alt.Axis(**axis)),
        tooltip=tooltip,
    )
    layers = [
        _shaded(chart, "datum.true === datum.predicted", color("series-1")),
        _shaded(chart, "datum.true !== datum.predicted", color("series-2")),
    ]
    if len(labels) <= MAX_NUMBERED_CLASSES:
        largest = max((count for row in matrix for count in row), default=0)
        ink = alt.condition(
            f"datum.shade > {DARK_SHADE}", alt.value(color("on-strong")), alt.value(color("ink"))
        )
        digits = chart.transform_filter("datum.count > 0")
        digits = digits.mark_text(fontSize=10 if largest < 10_000 else 8)
        layers.append(digits.encode(text="count:Q", color=ink))
    height = max(LINE_HEIGHT, min(600, 26 * len(labels)))
    return specification(layers, _cells(matrix, labels), height)


def _shaded(chart: alt.Chart, which: str, fill: str) -> Any:
    shades = alt.Scale(domain=[0, 1], range=[0.04, 1])
    cells = chart.transform_filter(which).mark_rect(color=fill, stroke=color("page"), strokeWidth=1)
    return cells.encode(fillOpacity=alt.FillOpacity("shade:Q", scale=shades, legend=None))


def _cells(matrix: Sequence[Sequence[int]], labels: Sequence[str]) -> list[dict[str, Any]]:
    """Return each cell with its share of the true class, and its shade on its colour's scale."""
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
        }
        for i, row in enumerate(matrix)
        for j, count in enumerate(row)
    ]
