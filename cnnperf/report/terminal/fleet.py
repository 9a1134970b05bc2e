"""Show a judged fleet on a terminal: the devices to look at, worst first, with causes."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.text import Text

from cnnperf.compare.fleet.place import Placement
from cnnperf.compare.fleet.verdicts import BAD, DeviceVerdict, Figure, Fleet, JudgedDevice
from cnnperf.errors import printable
from cnnperf.record.metrics import METRICS
from cnnperf.report.terminal.layout import Column, FittingTable

MAX_ROWS = 40
"""Rows that people are shown unless they ask for all."""

STYLES: dict[DeviceVerdict, str] = {
    "wrong": "bold red",
    "failed": "bold red",
    "slow": "bold red",
    "undecided": "yellow",
    "fast": "green",
    "alone": "yellow",
}

LEGEND = (
    "ratio: of speeds, to the centre of the healthy devices of the same kind, with its 95 % "
    "interval; n: trainings"
)

HOSTS_LEGEND = "ratio of a host: the median of its cards, so that one bad card hardly moves it"


def fleet_summary(fleet: Fleet, *, everything: bool = False) -> RenderableType:
    """Return the devices that need attention, or all, then peers, causes and the conclusion."""
    shown = [each for each in fleet.devices if everything or each.verdict != "normal"]
    rows = [row for device in shown for row in _rows(device, everything=everything)]
    left_out = len(fleet.devices) - len(shown)
    parts: list[RenderableType] = []
    if rows:
        heads = ("case", "n", "figure", "ratio (interval)")
        columns = (Column("device", "left"), Column("verdict", "left"), *map(Column, heads))
        parts += [FittingTable(columns, rows if everything else rows[:MAX_ROWS])]
        parts += [Text(LEGEND, style="dim")]
    parts += _hosts(fleet, everything=everything)
    hidden = max(0, len(rows) - MAX_ROWS) if not everything else 0
    parts += [Text(line, style="dim") for line in _peers(fleet)]
    parts += [Text(printable(line), style="yellow") for line in _explanations(shown[:MAX_ROWS])]
    parts += [Text(printable(note), style="dim") for note in fleet.notes]
    if left_out or hidden:
        more = f"{hidden:,} more rows, " * bool(hidden)
        parts += [Text(f"not shown: {more}{left_out:,} normal devices (--all)", style="dim")]
    style = "bold red" if fleet.exit_code == 1 else "bold green"
    return Group(*parts, Text(fleet.summary, style=style))


def _hosts(fleet: Fleet, *, everything: bool) -> Iterator[RenderableType]:
    """Yield the table of the hosts that need attention, or of all."""
    rows: list[list[Text | str]] = [
        [
            Text(printable(host.name)),
            Text(figure.verdict, style=STYLES.get(figure.verdict, "")),
            printable(figure.case),
            str(figure.n),
            f"{figure.ratio:.3f} ({figure.low:.3f} to {figure.high:.3f})",
        ]
        for host in fleet.hosts
        for figure in host.figures
        if everything or figure.verdict in ("slow", "fast")
    ]
    if rows:
        heads = ("case", "cards", "ratio (interval)")
        columns = (Column("host", "left"), Column("verdict", "left"), *map(Column, heads))
        yield FittingTable(columns, rows if everything else rows[:MAX_ROWS])
        yield Text(HOSTS_LEGEND, style="dim")


def _rows(device: JudgedDevice, *, everything: bool) -> Iterator[list[Text | str]]:
    figures = [each for each in device.figures if everything or each.verdict != "normal"]
    name = Text(printable(device.name))
    verdict = Text(device.verdict, style=STYLES.get(device.verdict, ""))
    if not figures or device.verdict in ("wrong", "failed"):
        yield [name, verdict, "", "", "", ""]
    for figure in figures:
        shown = Text(figure.verdict, style=STYLES.get(figure.verdict, ""))
        yield [
            name,
            shown,
            printable(figure.case),
            str(figure.n),
            METRICS[figure.metric].show(figure.value),
            f"{figure.ratio:.3f} ({figure.low:.3f} to {figure.high:.3f})",
        ]


def _peers(fleet: Fleet) -> Iterator[str]:
    for peers in fleet.peers:
        centre = METRICS[peers.metric].show(peers.centre)
        yield printable(
            f"{peers.case}: {peers.devices:,} devices, {peers.healthy:,} of them healthy around "
            f"{centre} {METRICS[peers.metric].label}; spread {peers.between_percent:.2f} % between "
            f"devices, {peers.within_percent:.2f} % between trainings"
        )


def _explanations(devices: list[JudgedDevice]) -> Iterator[str]:
    for device in devices:
        if device.reason is not None and device.verdict in BAD:
            yield f"{device.verdict}: {device.name}: {device.reason}"
        for figure in device.figures:
            if figure.verdict == "undecided":
                yield f"undecided: {device.name}, {figure.case}: {_needed(figure)}"
        if device.causes:
            yield f"likely cause: {device.name}: {'; '.join(device.causes)}"


def placement_line(placed: Placement) -> str:
    """Return where a device stands among others, in one sentence."""
    metric = METRICS[placed.metric]
    return printable(
        f"{placed.case}: {metric.show(placed.value)} {metric.label} (n={placed.n}), "
        f"{placed.ratio:.3f} of the median speed; faster than {placed.percentile:.0f} % of "
        f"{placed.devices:,} devices ({placed.low:.0f} to {placed.high:.0f} %)"
    )


def _needed(figure: Figure) -> str:
    if figure.repeats_needed is None:
        return "1,000 trainings would not settle it"
    return f"about {figure.repeats_needed} trainings would settle it"
