"""Figures of machines: means with intervals, and how many times better than the base."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import altair as alt

from cnnperf.record.metrics import METRICS
from cnnperf.report.html.charts import metric_axis, rows_of, specification, tooltip_of
from cnnperf.report.html.machines.estimates import Estimate, Result

ROW_HEIGHT = 30
"""Pixels of a machine's bar, space included."""

DOT_HEIGHT = 16
"""Pixels of a machine's dot in the overview."""

IN_ORDER = alt.EncodingSortField(field="order", op="min", order="ascending")


def bars(metric: str, results: Sequence[Result]) -> dict[str, Any]:
    """Draw a metric's mean on each machine, from 0, with its interval."""
    show = METRICS[metric].show
    rows = [_row(number, result, result.mean, show) for number, result in enumerate(results)]
    title, tick_format = metric_axis(metric)
    axis = alt.Axis(format=tick_format)
    x = alt.X("value:Q", title=title, axis=axis, scale=alt.Scale(zero=True))
    low = alt.X("low:Q", title=title, axis=axis)
    layers = [
        rows_of().mark_bar(size=16).encode(x=x, y=_machines(), tooltip=_tooltip()),
        _intervals(low, y=_machines()),
    ]
    return specification(layers, rows, ROW_HEIGHT * len(rows))


def gains(results: Sequence[Result], title: str) -> dict[str, Any]:
    """Draw how many times better each machine is than the base, which is the line at 1."""
    rows = _gain_rows(results)
    return _dots(rows, title, 70, ROW_HEIGHT * len(rows), _tooltip(), y=_machines())


def overview(gains_by_case: Sequence[tuple[str, Sequence[Result]]], title: str) -> dict[str, Any]:
    """Draw the gains of all cases, with a colour for each machine."""
    rows = [{**row, "case": case} for case, found in gains_by_case for row in _gain_rows(found)]
    machines, cases = (len({row[name] for row in rows}) for name in ("label", "case"))
    height = max(cases * (DOT_HEIGHT * machines + 8), ROW_HEIGHT)
    legend = alt.Legend(orient="bottom", columns=1, labelLimit=260)
    place = {
        "y": alt.Y("case:N", title=None, sort=None, axis=alt.Axis(labelLimit=300)),
        "yOffset": alt.YOffset("label:N", sort=IN_ORDER),
        "color": alt.Color("label:N", title=None, sort=IN_ORDER, legend=legend),
    }
    return _dots(rows, title, 60, height, _tooltip(case="case"), **place)


def _dots(
    rows: list[dict[str, Any]],
    title: str,
    size: int,
    height: int,
    tooltip: list[alt.Tooltip],
    **place: Any,
) -> dict[str, Any]:
    scale = alt.Scale(zero=False, padding=12)
    x, low = (alt.X(field, title=title, scale=scale) for field in ("value:Q", "low:Q"))
    base = rows_of().transform_calculate(value="1").mark_rule(strokeDash=[4, 3])
    dots = rows_of().mark_circle(size=size, opacity=1)
    dots = dots.encode(x=x, tooltip=tooltip, **place)
    return specification([base.encode(x=x), _intervals(low, **place), dots], rows, height)


def show_gain(value: float) -> str:
    """Return a ratio with three significant digits."""
    return f"{value:.2f}" if 0.1 <= value < 10 else f"{value:.3g}"


def _gain_rows(results: Sequence[Result]) -> list[dict[str, Any]]:
    return [
        _row(number, result, result.gain, show_gain)
        for number, result in enumerate(results)
        if result.gain is not None
    ]


def _row(
    number: int, result: Result, estimate: Estimate, show: Callable[[float], str]
) -> dict[str, Any]:
    interval = "none"
    if estimate.low is not None and estimate.high is not None:
        interval = f"{show(estimate.low)} to {show(estimate.high)}"
    return {
        "order": number,
        "label": result.member.label,
        "value": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "shown": show(estimate.value),
        "interval": interval,
        "n": estimate.n,
        "precision": result.precision or "",
    }


def _tooltip(**more: str) -> list[alt.Tooltip]:
    return tooltip_of(
        **more, label="machine", shown="mean", interval="95 % interval", n="n",
        precision="precision",
    )  # fmt: skip


def _machines() -> alt.Y:
    return alt.Y("label:N", title=None, sort=IN_ORDER, axis=alt.Axis(labelLimit=260))


def _intervals(low: alt.X, **place: Any) -> Any:
    rules = rows_of().transform_filter("datum.low !== null").mark_rule(strokeWidth=2)
    return rules.encode(x=low, x2="high:Q", **place)
