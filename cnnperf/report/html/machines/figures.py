"""Figures of several machines: a bar a machine with its interval, and times better than the base.

Torch-free. Vega-Lite made with altair, as plain values; text of records stands in data alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import altair as alt

from cnnperf.record.metrics import METRICS
from cnnperf.report.html.charts import specification, with_values, without_values
from cnnperf.report.html.machines.estimates import Estimate, Result

ROW_HEIGHT = 30
"""Pixels of a machine's bar, space included."""

DOT_HEIGHT = 16

FORMATS = {"mfu": ".1%"}


def bars(metric: str, results: Sequence[Result]) -> dict[str, Any]:
    """A metric's mean on each machine, from 0, with its interval."""
    rows = [
        _row(number, result, result.mean, METRICS[metric].show)
        for number, result in enumerate(results)
    ]
    template = _bars(_title(metric), FORMATS.get(metric, ".4~r"))
    return _as_high(template, rows, ROW_HEIGHT * len(rows))


def gains(results: Sequence[Result], title: str) -> dict[str, Any]:
    """How many times better each machine is than the base, which is the line at 1."""
    rows = [
        _row(number, result, result.gain, show_gain)
        for number, result in enumerate(results)
        if result.gain is not None
    ]
    return _as_high(_gains(title), rows, ROW_HEIGHT * len(rows))


def overview(gains_by_case: Sequence[tuple[str, Sequence[Result]]], title: str) -> dict[str, Any]:
    """The gains of all cases together, a colour a machine."""
    rows = [
        {**_row(number, result, result.gain, show_gain), "case": case}
        for case, results in gains_by_case
        for number, result in enumerate(results)
        if result.gain is not None
    ]
    machines = len({row["label"] for row in rows})
    cases = len({row["case"] for row in rows})
    return _as_high(_overview(title), rows, cases * (DOT_HEIGHT * machines + 8))


def show_gain(value: float) -> str:
    """A ratio with three digits that matter."""
    return f"{value:.2f}" if 0.1 <= value < 10 else f"{value:.3g}"


def _row(number: int, result: Result, estimate: Estimate | None, show: Any) -> dict[str, Any]:
    assert estimate is not None
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


def _as_high(template: dict[str, Any], rows: list[dict[str, Any]], height: int) -> dict[str, Any]:
    return with_values(template, rows, height=max(height, ROW_HEIGHT))


def _layered(*layers: Any) -> dict[str, Any]:
    return specification(alt.layer(*layers))


def _with_ends() -> Any:
    return without_values().transform_filter("datum.low !== null")


def _tooltip(*more: tuple[str, str]) -> list[alt.Tooltip]:
    columns = (
        *more, ("label", "machine"), ("shown", "mean"), ("interval", "95 % interval"),
        ("n", "n"), ("precision", "precision"),
    )  # fmt: skip
    return [alt.Tooltip(f"{field}:N", title=title) for field, title in columns]


def _machines() -> alt.Y:
    order = alt.EncodingSortField(field="order", op="min", order="ascending")
    return alt.Y("label:N", title=None, sort=order, axis=alt.Axis(labelLimit=260))


@cache
def _bars(title: str, axis_format: str) -> dict[str, Any]:
    axis = alt.Axis(format=axis_format)
    x = alt.X("value:Q", title=title, axis=axis, scale=alt.Scale(zero=True))
    low = alt.X("low:Q", title=title, axis=axis)
    return _layered(
        without_values().mark_bar(size=16).encode(x=x, y=_machines(), tooltip=_tooltip()),
        _with_ends().mark_rule(strokeWidth=2).encode(x=low, x2="high:Q", y=_machines()),
    )


@cache
def _gains(title: str) -> dict[str, Any]:
    scale = alt.Scale(zero=False, padding=12)
    x = alt.X("value:Q", title=title, scale=scale)
    low = alt.X("low:Q", title=title, scale=scale)
    return _layered(
        _unity(x),
        _with_ends().mark_rule(strokeWidth=2).encode(x=low, x2="high:Q", y=_machines()),
        without_values()
        .mark_circle(size=70, opacity=1)
        .encode(x=x, y=_machines(), tooltip=_tooltip()),
    )


@cache
def _overview(title: str) -> dict[str, Any]:
    scale = alt.Scale(zero=False, padding=12)
    x = alt.X("value:Q", title=title, scale=scale)
    low = alt.X("low:Q", title=title, scale=scale)
    order = alt.EncodingSortField(field="order", op="min", order="ascending")
    legend = alt.Legend(orient="bottom", columns=1, labelLimit=260)
    place = {
        "y": alt.Y("case:N", title=None, sort=None, axis=alt.Axis(labelLimit=300)),
        "yOffset": alt.YOffset("label:N", sort=order),
        "color": alt.Color("label:N", title=None, sort=order, legend=legend),
    }
    dots = without_values().mark_circle(size=60, opacity=1)
    return _layered(
        _unity(x),
        _with_ends().mark_rule(strokeWidth=2).encode(x=low, x2="high:Q", **place),
        dots.encode(x=x, tooltip=_tooltip(("case", "case")), **place),
    )


def _unity(x: alt.X) -> Any:
    """The base's line."""
    return without_values().transform_calculate(value="1").mark_rule(strokeDash=[4, 3]).encode(x=x)


def _title(metric: str) -> str:
    described = METRICS[metric]
    is_bare = described.unit == "1" or described.unit in ("1/s",)
    return described.label if is_bare else f"{described.label} ({described.unit})"
