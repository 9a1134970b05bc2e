"""The page of a judged fleet: what is on it, and that it stays small."""

from __future__ import annotations

from typing import Any

import pytest
from typer.testing import CliRunner

from cnnperf.cli.commands import app
from cnnperf.compare.fleet.devices import CARD, HOST, FleetDevice
from cnnperf.compare.fleet.judge import judge_fleet
from cnnperf.compare.fleet.verdicts import Figure, Fleet, JudgedDevice, JudgedHost, Peers
from cnnperf.record.numerics import NumericsTraining
from cnnperf.report.html.content import Page
from cnnperf.report.html.fleets.figures import MAX_HOSTS
from cnnperf.report.html.fleets.page import fleet_page
from cnnperf.report.html.page import check_ids
from cnnperf.report.html.room import MAX_BYTES, fitted
from tests.compare.fleet.fleets import fleet_of, write_fleet


def judged(*, hostile: str = "") -> Fleet:
    """Sixteen hosts: node4 is slow, and a card of node0; one device computes wrongly."""
    effects = dict.fromkeys(range(32, 40), -0.08) | {3: -0.1, 90: 0.08}
    records = fleet_of(128, effects, between=0.007)
    right, other = (NumericsTraining(seed=0, step_losses=[loss]) for loss in (1.0, 2.0))
    for name, record in records.items():
        found = other if name == "node7-gpu1" else right
        case = record.cases[0].model_copy(update={"numerics": [found, found]})
        records[name] = record.model_copy(update={"cases": [case]})
    return judge_fleet(
        [
            FleetDevice(
                name=name + hostile,
                record=record,
                labels={HOST: name.partition("-")[0] + hostile, CARD: name[-1]},
            )
            for name, record in records.items()
        ]
    )


def figure_rows(page: Page, name: str) -> list[dict[str, Any]]:
    """The data of a figure."""
    (figure,) = (each for each in page.figures() if each.id == name)
    rows: list[dict[str, Any]] = figure.specification["datasets"]["rows"]
    return rows


def test_page_has_what_to_look_at_worst_first() -> None:
    """Devices with causes, hosts, and the healthy ones that all are compared with."""
    page = fleet_page(judged())
    check_ids(page)
    assert page.lead[0] == ("128 devices: 1 wrong, 9 slow, 1 fast, 117 normal; 1 of 16 hosts slow.")
    devices, hosts, *_ = page.sections
    (table,) = devices.tables
    assert [row.shown[1] for row in table.rows] == ["wrong", *["slow"] * 9, "fast"]
    assert table.rows[0].shown[0] == "node7-gpu1"
    assert "a lasting fault" in table.rows[0].shown[2]
    slow = {row.shown[0]: row for row in table.rows}
    assert slow["node4-gpu2"].shown[2].startswith("host node4: its 8 cards are")
    (of_hosts,) = hosts.tables
    assert [row.shown[:2] for row in of_hosts.rows] == [["node4", "slow"]]


def test_heat_map_has_each_device_with_its_figure_and_a_mark() -> None:
    """The worst hosts first; a mark tells verdicts apart without colours."""
    fleet = judged()
    rows = figure_rows(fleet_page(fleet), "case-1-hosts")
    assert len(rows) == 128
    assert list(dict.fromkeys(row["host"] for row in rows))[:3] == ["node7", "node0", "node4"]
    cells = {row["device"]: row for row in rows}
    ratios = {each.name: each.figures[0].ratio for each in fleet.devices}
    for name, mark in (("node7-gpu1", "✕"), ("node4-gpu0", "▼"), ("node11-gpu2", "▲"),
                       ("node1-gpu0", "")):  # fmt: skip
        assert cells[name]["mark"] == mark
        assert float(cells[name]["figure"]) == pytest.approx(100 * (ratios[name] - 1), abs=0.051)
    assert cells["node4-gpu5"]["card"] == "5"


def test_distribution_counts_every_device_and_the_worst_are_named() -> None:
    """The bars add up; the band is where healthy devices lie."""
    page = fleet_page(judged())
    bars = figure_rows(page, "case-1-spread")
    assert sum(row["devices"] for row in bars if row["role"] == "bar") == 128
    named = [row["label"] for row in figure_rows(page, "case-1-worst")]
    assert named[:2] == ["node7-gpu1", "node0-gpu3"]
    assert len(named) == 11


def test_page_of_a_large_fleet_stays_small() -> None:
    """10,000 devices of which a third is slow, with five cases: the worst hosts, and a count."""
    cases = [f"case{number}" for number in range(5)]
    devices = []
    for number in range(10_000):
        is_slow = number < 3_000
        figures = tuple(
            Figure(
                case=case, metric="images_per_second", n=5, value=1.0, p_value=0.1,
                verdict="slow" if is_slow else "normal",
                ratio=0.8 if is_slow else 1.0, low=0.7, high=1.1,
            )
            for case in cases
        )  # fmt: skip
        host = f"node{number // 8}"
        devices.append(
            JudgedDevice(
                name=f"{host}-gpu{number % 8}", verdict=figures[0].verdict, figures=figures,
                labels={HOST: host, CARD: str(number % 8)}, causes=("PCIe lanes 4, not 16",) * 3,
            )
        )  # fmt: skip
    peers = [
        Peers(case=case, metric="images_per_second", devices=10_000, healthy=7_000, centre=1.0,
              between_percent=1.0, within_percent=0.3)
        for case in cases
    ]  # fmt: skip
    hosts = [
        JudgedHost(name=f"node{number}", verdict="normal", figures=devices[0].figures)
        for number in range(1250)
    ]
    fleet = Fleet(
        exit_code=1, summary="", devices=tuple(devices), hosts=tuple(hosts), peers=tuple(peers)
    )
    page = fleet_page(fleet)
    assert fitted(page, MAX_BYTES) == page
    assert "7,000 normal devices are not listed" in " ".join(page.sections[0].paragraphs)
    assert "cnnperf fleet judge --all shows all" in page.lead[-1]
    rows = figure_rows(page, "case-1-hosts")
    assert len({row["host"] for row in rows}) == MAX_HOSTS
    (figure,) = (each for each in page.figures() if each.id == "case-1-hosts")
    assert "The worst 24 of 1,250 hosts are shown." in figure.caption


def test_command_writes_the_page(tmp_path: Any) -> None:
    """With the exit code of the verdict; without hosts there is no heat map."""
    folder = write_fleet(tmp_path / "fleet", fleet_of(effects={3: -0.1}))
    output = tmp_path / "fleet.html"
    arguments = ["fleet", "judge", str(folder), "--format", "html", "-o", str(output)]
    found = CliRunner().invoke(app, arguments)
    assert (found.exit_code, found.stdout) == (1, "40 devices: 1 slow, 39 normal\n")
    text = output.read_text()
    assert "<h1>Fleet of 40 devices</h1>" in text
    assert 'id="case-1-spread"' in text
    assert 'id="case-1-hosts"' not in text


def test_hostile_names_are_text() -> None:
    """Of devices and hosts; the page escapes, and figures are printable."""
    page = fleet_page(judged(hostile="\x1b[31m\u202e<script>"))
    assert all(row["device"].isprintable() for row in figure_rows(page, "case-1-hosts"))
