"""A confusion matrix as a chart: which class is taken for which, and how often.

Right and wrong cells each have their own colour and scale: on one scale the errors of a model that
is right 99 times in 100 would be invisible.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from cnnperf.report.html.charts import LINE_HEIGHT, rows_of, specification
from cnnperf.report.html.theme import color

MAX_NUMBERED_CLASSES = 20
"""With more classes there is no room for a count in each cell."""

DARK_SHADE = 0.55
"""From this shade on, light digits are easier to read than dark ones."""


def confusion_heat_map(matrix: Sequence[Sequence[int]], labels: Sequence[str]) -> dict[str, Any]:
    """Draw the counts of test images by true class (rows) and predicted class (columns).

    Args:
        matrix: counts by [true class][predicted class], square.
        labels: of the classes.
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
