"""The figures of a fleet's page: hosts by cards, how devices spread, and the worst by name."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

import altair as alt
import numpy as np

from cnnperf.compare.fleet.devices import CARD, HOST
from cnnperf.compare.fleet.verdicts import (
    BAD,
    SEVERITY,
    DeviceVerdict,
    Figure,
    Fleet,
    JudgedDevice,
    JudgedHost,
)
from cnnperf.report.html import content
from cnnperf.report.html.charts import bars_with_intervals, rows_of, specification, tooltip_of
from cnnperf.report.html.theme import color

MAX_HOSTS = 24
"""Rows of a heat map: more do not fit on a screen."""

MAX_NAMED = 15
"""Devices that a figure names."""

BINS = 40

CELL_HEIGHT = 32
"""Pixels of a device in a heat map: its figure, and a mark below it."""

MANY_CARDS = 8
"""With more, a telephone has room for small digits only."""

MARKS: dict[DeviceVerdict, str] = {
    "wrong": "✕",
    "failed": "✕",
    "slow": "▼",
    "undecided": "?",
    "fast": "▲",
    "normal": "",
    "alone": "",
}
"""What tells the verdicts of a heat map apart without colours."""

TINTS: dict[DeviceVerdict, str] = {
    "wrong": "bad-tint",
    "failed": "bad-tint",
    "slow": "bad-tint",
    "undecided": "doubt-tint",
    "fast": "good-tint",
    "normal": "raised",
    "alone": "raised",
}

Judged = Sequence[tuple[JudgedDevice, Figure]]


def _verdict(device: JudgedDevice, figure: Figure) -> DeviceVerdict:
    """Return the verdict of a cell: a device that computes wrongly does so in every case."""
    return min(
        (figure.verdict, *([device.verdict] if device.verdict == "wrong" else [])),
        key=SEVERITY.index,
    )


def _percent(figure: Figure) -> float:
    return 100 * (figure.ratio - 1)


def _shown(figure: Figure) -> str:
    low, high = (100 * (end - 1) for end in (figure.low, figure.high))
    return f"{_percent(figure):+.1f} % ({low:+.1f} to {high:+.1f} %)"


def heat_map(fleet: Fleet, found: Judged, name: str, most: int) -> Iterator[content.Figure]:
    """Yield hosts by cards, the worst hosts first; nothing where no host has two cards."""
    by_host: dict[str, list[tuple[JudgedDevice, Figure]]] = {}
    for device, figure in found:
        if HOST in device.labels:
            by_host.setdefault(device.labels[HOST], []).append((device, figure))
    if max(map(len, by_host.values()), default=0) < 2:
        return
    of_hosts = {host.name: host for host in fleet.hosts}
    ordered = sorted(by_host, key=lambda host: (*_gravity(by_host[host], of_hosts.get(host)), host))
    rows = [cell for host in ordered[:most] for cell in _cells(host, by_host[host])]
    left_out = len(ordered) - most
    more = f" The worst {most:,} of {len(ordered):,} hosts are shown." if left_out > 0 else ""
    yield content.Figure(
        id=f"{name}-hosts",
        title="Hosts by cards",
        caption="Percent by which each device is faster (+) or slower (-) than the centre of its "
        f"healthy peers. ▼ slow, ✕ computes wrongly, ? undecided, ▲ fast.{more}",
        specification=_map(rows, ordered[:most]),
    )


def _gravity(cells: Judged, host: JudgedHost | None) -> tuple[int, float]:
    verdicts = [_verdict(device, figure) for device, figure in cells]
    verdicts += [host.verdict] if host is not None else []
    return min(map(SEVERITY.index, verdicts)), min(figure.ratio for _, figure in cells)


def _cells(host: str, cells: Judged) -> Iterator[dict[str, Any]]:
    """Yield a host's devices by card; those without an index of their own are numbered."""
    ordered = sorted(cells, key=lambda each: each[0].name)
    cards = [device.labels.get(CARD, "") for device, _ in ordered]
    if "" in cards or len(set(cards)) < len(cards):
        cards = [str(number) for number in range(len(cards))]
    for card, (device, figure) in zip(cards, ordered, strict=True):
        verdict = _verdict(device, figure)
        yield {
            "host": host,
            "card": card,
            "figure": f"{_percent(figure):+z.1f}",
            "mark": MARKS[verdict],
            "tint": color(TINTS[verdict]),
            "device": device.name,
            "verdict": verdict,
            "shown": _shown(figure),
        }


def _map(rows: list[dict[str, Any]], hosts: Sequence[str]) -> dict[str, Any]:
    cards = sorted({row["card"] for row in rows}, key=lambda card: (len(card), card))
    size = 10 if len(cards) <= MANY_CARDS else 7
    axis: dict[str, Any] = {"ticks": False, "domain": False, "labelPadding": 5}
    x_axis = alt.Axis(**axis, labelAngle=0, orient="top")
    chart = rows_of().encode(
        x=alt.X("card:N", sort=cards, title="card", axis=x_axis),
        y=alt.Y("host:N", sort=list(hosts), title=None, axis=alt.Axis(**axis, labelLimit=90)),
        tooltip=tooltip_of(device="device", verdict="verdict", shown="difference"),
    )
    layers = [
        chart.mark_rect(stroke=color("line"), strokeWidth=1).encode(
            fill=alt.Fill("tint:N", scale=None, legend=None)
        ),
        chart.mark_text(fontSize=size, dy=-6).encode(text="figure:N"),
        chart.mark_text(fontSize=size, dy=8).encode(text="mark:N"),
    ]
    return specification(layers, rows, CELL_HEIGHT * len(hosts))


def _healthy_percent(fleet: Fleet, case: str, found: Judged) -> float:
    """Return half the range in which 95 % of the healthy devices lie."""
    peers = max((each for each in fleet.peers if each.case == case), key=lambda each: each.devices)
    trainings = statistics.median(figure.n for _, figure in found)
    return 1.96 * math.hypot(peers.between_percent, peers.within_percent / math.sqrt(trainings))


def distribution(fleet: Fleet, case: str, found: Judged, name: str) -> content.Figure:
    """Count the devices by their difference; what is far out is in the first or last bar."""
    healthy = _healthy_percent(fleet, case, found)
    percents = np.array([_percent(figure) for _, figure in found])
    edge = min(float(np.abs(percents).max()), 8 * healthy) or 1.0
    edges = np.linspace(-edge, edge, BINS + 1)
    verdicts = np.array([_verdict(device, figure) for device, figure in found])
    kinds = [kind for kind in SEVERITY if kind in verdicts]
    rows = [
        {"from": low, "to": high, "devices": int(count), "verdict": kind}
        for kind in kinds
        for low, high, count in zip(
            edges[:-1].tolist(),
            edges[1:].tolist(),
            np.histogram(np.clip(percents[verdicts == kind], -edge, edge), edges)[0],
            strict=True,
        )
        if count
    ]
    fills = [color("muted" if kind in ("normal", "alone") else _strong(kind)) for kind in kinds]
    scale = alt.Scale(domain=[-edge, edge], nice=False)
    band = {"role": "band", "low": -min(healthy, edge), "high": min(healthy, edge)}
    bars = rows_of("bar").mark_bar(binSpacing=0)
    layers = [
        rows_of("band").mark_rect(color=color("band")).encode(
            x=alt.X("low:Q", scale=scale, title="faster (+) or slower (-), %"), x2="high:Q"
        ),
        bars.encode(
            x=alt.X("from:Q", scale=scale, bin="binned"),
            x2="to:Q",
            y=alt.Y("devices:Q", title="devices", stack=True),
            color=alt.Color("verdict:N", scale=alt.Scale(domain=kinds, range=fills)),
            tooltip=[alt.Tooltip("verdict:N"), alt.Tooltip("devices:Q", format=",")],
        ),
    ]  # fmt: skip
    return content.Figure(
        id=f"{name}-spread",
        title="How devices spread",
        caption=f"Devices by their difference from the centre. In the grey band, {healthy:.1f} % "
        "to both sides, 95 % of the healthy devices lie. The outermost bars hold what is farther "
        "out.",
        specification=specification(layers, [band, *({"role": "bar", **row} for row in rows)]),
    )


def _strong(verdict: DeviceVerdict) -> str:
    if verdict in BAD:
        return "bad"
    return "good" if verdict == "fast" else "doubt"


def worst(fleet: Fleet, case: str, found: Judged, name: str) -> Iterator[content.Figure]:
    """Yield the slowest devices that are not normal, by name, with their intervals."""
    odd = [each for each in found if _verdict(*each) not in ("normal", "alone")]
    odd.sort(key=lambda each: (SEVERITY.index(_verdict(*each)), each[1].ratio))
    if not odd:
        return
    limit = _healthy_percent(fleet, case, found)
    rows = [
        {
            "label": device.name,
            "shown": f"{_verdict(device, figure)}, {_shown(figure)}",
            "value": _percent(figure),
            "low": 100 * (figure.low - 1),
            "high": 100 * (figure.high - 1),
            "limit": limit,
            "kind": _verdict(device, figure),
        }
        for device, figure in odd[:MAX_NAMED]
    ]
    more = f" {len(odd) - MAX_NAMED:,} more are in the table." if len(odd) > MAX_NAMED else ""
    yield content.Figure(
        id=f"{name}-worst",
        title="Devices to look at",
        caption=f"Difference from the centre with its 95 % interval, worst first; the band holds "
        f"95 % of the healthy devices.{more}",
        specification=bars_with_intervals(rows, title="faster (+) or slower (-), %"),
    )
