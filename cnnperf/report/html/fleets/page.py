"""The page of a judged fleet: what to look at, worst first; hosts by cards; how devices spread.

    cnnperf fleet judge reports/cluster/ --format html -o fleet.html

A fleet of 10,000 devices has a page that opens: normal devices are counted, and figures show the
worst hosts and devices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from cnnperf.compare.fleet.devices import HOST
from cnnperf.compare.fleet.verdicts import DeviceVerdict, Figure, Fleet, JudgedDevice
from cnnperf.record.metrics import METRICS
from cnnperf.report.html.content import Page, Row, Section, Table, number_columns, text_columns
from cnnperf.report.html.fleets.figures import MAX_HOSTS, distribution, heat_map, worst
from cnnperf.report.html.room import MAX_BYTES, fitted
from cnnperf.report.html.sections.runs import count_cell, metric_cell, row_of
from cnnperf.report.wording import capitalised

COMMAND = "cnnperf fleet judge --all"

DEVICE_COLUMNS = (
    *text_columns(
        device="device",
        verdict="verdict",
        causes="reason and likely causes",
        host="host",
        case="case",
    ),
    *number_columns(
        trainings="trainings",
        figure="figure",
        ratio="ratio",
        ratio_low="from",
        ratio_high="to",
        card_ratio="card in its host",
    ),
)

HOST_COLUMNS = (
    *text_columns(host="host", verdict="verdict", case="case"),
    *number_columns(cards="cards", ratio="ratio", ratio_low="from", ratio_high="to"),
)

PEER_COLUMNS = (
    *text_columns(case="case", metric="metric"),
    *number_columns(
        devices="devices",
        healthy="healthy",
        centre="their centre",
        between_percent="between devices, %",
        within_percent="between trainings, %",
    ),
)


def fleet_page(fleet: Fleet, *, everything: bool = False) -> Page:
    """Show a judged fleet; with `everything`, normal devices and all hosts too."""
    cases = list(dict.fromkeys(peers.case for peers in fleet.peers))
    sections = [
        _devices_section(fleet, everything),
        *([_hosts_section(fleet, everything)] if fleet.hosts else []),
        *(
            _case_section(fleet, case, f"case-{number}", everything)
            for number, case in enumerate(cases, start=1)
        ),
        _peers_section(fleet),
    ]
    lead = [f"{capitalised(fleet.summary)}.", *(f"{capitalised(note)}." for note in fleet.notes)]
    title = f"Fleet of {len(fleet.devices):,} devices"
    page = Page(title=title, lead=lead, sections=sections)
    return page if everything else fitted(page, MAX_BYTES, COMMAND)


# --- tables ---------------------------------------------------------------------------------------


def _devices_section(fleet: Fleet, everything: bool) -> Section:
    shown = [each for each in fleet.devices if everything or each.verdict != "normal"]
    left_out = len(fleet.devices) - len(shown)
    paragraphs = [
        "Ratios are of speeds, to the centre of the healthy devices of the same kind, with 95 % "
        "intervals. The last ratio is to the cards of the same host: about 1 where the host "
        "explains the difference."
    ]
    if left_out:
        paragraphs.append(f"{left_out:,} normal devices are not listed: {COMMAND} lists all.")
    table = Table(
        id="table-devices",
        caption="Devices, worst first",
        columns=DEVICE_COLUMNS,
        rows=[row for device in shown for row in _device_rows(device, everything)],
    )
    tables = (table,) if table.rows else ()
    return Section(id="devices", title="Devices to look at", paragraphs=paragraphs, tables=tables)


def _device_rows(device: JudgedDevice, everything: bool) -> Iterator[Row]:
    figures = [each for each in device.figures if everything or each.verdict != "normal"]
    if not figures or device.verdict in ("wrong", "failed"):
        cells: list[Any] = ["", ("", None), ("", None), *_ratio_cells(None), ("", None)]
        yield _device_row(device, device.verdict, cells)
    for figure in figures:
        card = figure.card.ratio if figure.card is not None else None
        cells = [
            figure.case,
            count_cell(figure.n),
            metric_cell(figure.metric, figure.value),
            *_ratio_cells(figure),
            ("" if card is None else f"{card:.3f}", card),
        ]
        yield _device_row(device, figure.verdict, cells)


def _device_row(device: JudgedDevice, verdict: DeviceVerdict, cells: Sequence[Any]) -> Row:
    told = [*([device.reason] if device.reason is not None else []), *device.causes]
    host = device.labels.get(HOST, "")
    return row_of(device.name, verdict, "; ".join(told), host, *cells, style=_style(verdict))


def _style(verdict: DeviceVerdict) -> str | None:
    return None if verdict == "normal" else verdict


def _ratio_cells(figure: Figure | None) -> list[tuple[str, float | None]]:
    if figure is None:
        return [("", None)] * 3
    return [(f"{each:.3f}", each) for each in (figure.ratio, figure.low, figure.high)]


def _hosts_section(fleet: Fleet, everything: bool) -> Section:
    rows = [
        row_of(
            host.name, figure.verdict, figure.case, count_cell(figure.n), *_ratio_cells(figure),
            style=_style(figure.verdict),
        )
        for host in fleet.hosts
        for figure in host.figures
        if everything or figure.verdict in ("slow", "fast")
    ]  # fmt: skip
    few = any(host.verdict == "alone" for host in fleet.hosts)
    paragraphs = [
        "The ratio of a host is the median of its cards, so that one bad card hardly moves it."
        + (" There are too few hosts to judge them." if few else ""),
    ]
    if not rows:
        paragraphs.append(f"None of the {len(fleet.hosts):,} hosts is slow or fast as a whole.")
    table = Table(id="table-hosts", caption="Hosts, worst first", columns=HOST_COLUMNS, rows=rows)
    return Section(
        id="hosts", title="Hosts", paragraphs=paragraphs, tables=(table,) if rows else ()
    )


def _peers_section(fleet: Fleet) -> Section:
    rows = [
        row_of(
            each.case,
            METRICS[each.metric].label,
            count_cell(each.devices),
            count_cell(each.healthy),
            metric_cell(each.metric, each.centre),
            (f"{each.between_percent:.2f}", each.between_percent),
            (f"{each.within_percent:.2f}", each.within_percent),
        )
        for each in fleet.peers
    ]
    table = Table(
        id="table-peers",
        caption="Devices of one kind, and the standard deviations of the healthy ones",
        columns=PEER_COLUMNS,
        rows=rows,
        is_closed=False,
    )
    return Section(id="peers", title="Healthy devices", tables=(table,))


def _case_section(fleet: Fleet, case: str, name: str, everything: bool) -> Section:
    found = [
        (device, figure)
        for device in fleet.devices
        for figure in device.figures
        if figure.case == case
    ]
    figures = [
        *heat_map(fleet, found, name, len(fleet.hosts) if everything else MAX_HOSTS),
        distribution(fleet, case, found, name),
        *worst(fleet, case, found, name),
    ]
    return Section(id=name, title=case, figures=figures)
