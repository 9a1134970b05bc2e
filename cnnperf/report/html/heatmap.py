"""A confusion matrix as a chart: which class is taken for which, and how often.

Torch-free. Right and wrong have each a colour and a scale of their own: on one scale the errors of
a model that is right 99 times in 100 could not be seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import altair as alt

from cnnperf.report.html.charts import LINE_HEIGHT, specification, with_values, without_values
from cnnperf.report.html.theme import color

MAX_NUMBERED_CLASSES = 20
"""More classes than that leave no room for a count in each cell."""

DARK_SHADE = 0.55
"""From here on, light figures are easier to read than dark ones."""


def confusion_heat_map(matrix: Sequence[Sequence[int]], labels: Sequence[str]) -> dict[str, Any]:
    """Test images by true class (rows) and predicted class (columns), with their counts.

    Args:
        matrix: counts by [true class][predicted class], square.
        labels: of the classes.
    """
    digits = max((len(str(count)) for row in matrix for count in row), default=1)
    is_numbered = len(labels) <= MAX_NUMBERED_CLASSES
    template = _heat_map(tuple(labels), (10 if digits < 5 else 8) if is_numbered else None)
    return with_values(template, _cells(matrix, labels))


def _cells(matrix: Sequence[Sequence[int]], labels: Sequence[str]) -> list[dict[str, Any]]:
    """A row a cell: its share of the true class, and that on the scale of its colour."""
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


@cache
def _heat_map(labels: tuple[str, ...], font_size: int | None) -> dict[str, Any]:
    axis: dict[str, Any] = {
        "ticks": False,
        "domain": False,
        "labelPadding": 5,
        "labelLimit": 70,
        "labelOverlap": False,
    }
    angle = -45 if max(map(len, labels)) > 2 else 0
    order = list(labels)
    chart = without_values().encode(
        x=alt.X("predicted:O", sort=order, axis=alt.Axis(**axis, labelAngle=angle)),
        y=alt.Y("true:O", sort=order, axis=alt.Axis(**axis)),
        tooltip=[
            alt.Tooltip("true:N"),
            alt.Tooltip("predicted:N"),
            alt.Tooltip("count:Q", format=","),
            alt.Tooltip("share:Q", format=".2%", title="share of the true class"),
        ],
    )
    layers = [
        _shaded(chart, "datum.true === datum.predicted", color("series-1")),
        _shaded(chart, "datum.true !== datum.predicted", color("series-2")),
    ]
    if font_size is not None:
        layers.append(_counts(chart, font_size))
    height = max(LINE_HEIGHT, min(600, 26 * len(labels)))
    return specification(alt.layer(*layers).properties(height=height))


def _shaded(chart: alt.Chart, which: str, fill: str) -> alt.Chart:
    shades = alt.Scale(domain=[0, 1], range=[0.04, 1])
    cells = chart.transform_filter(which).mark_rect(color=fill, stroke=color("page"), strokeWidth=1)
    shaded: alt.Chart = cells.encode(
        fillOpacity=alt.FillOpacity("shade:Q", scale=shades, legend=None)
    )
    return shaded


def _counts(chart: alt.Chart, font_size: int) -> alt.Chart:
    ink = alt.condition(
        f"datum.shade > {DARK_SHADE}", alt.value(color("on-strong")), alt.value(color("ink"))
    )
    figures = chart.transform_filter("datum.count > 0").mark_text(fontSize=font_size)
    counts: alt.Chart = figures.encode(text="count:Q", color=ink)
    return counts
