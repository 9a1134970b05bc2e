"""Tables that fit: what a terminal with too little room still shows."""

from __future__ import annotations

import pytest
from rich.console import RenderableType
from rich.text import Text

from cnnperf.report.terminal.layout import Cell, Column, FittingTable, GroupedTable
from cnnperf.report.terminal.run import render
from tests.examples import plain_terminal

COLUMNS = (Column("case", "left"), Column("n"), Column("time"), Column("tiers", "left"))
ROWS = [
    ["modified_vgg-mnist-28-eager", "5", "20.0 s", "smoke standard full"],
    ["vgg16-mnist-224-fast", "12", "3.5 s", "full"],
]


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    plain_terminal(monkeypatch)


def _lines(renderable: RenderableType, width: int) -> list[str]:
    text = render(renderable, width=width, color=False)
    lines = [line.rstrip() for line in text.splitlines()]
    assert "…" not in text
    assert max(map(len, lines)) <= width
    return [line for line in lines if line and set(line.strip()) != {"─"}]


def _table(optional: tuple[str, ...] = ("tiers",)) -> FittingTable:
    return FittingTable(COLUMNS, ROWS, optional)


def test_a_wide_terminal_shows_every_column() -> None:
    """27 + 2 + 6 + 19 characters, three gaps of 2 and two edges need 62."""
    assert [line.split() for line in _lines(_table(), 62)] == [
        ["case", "n", "time", "tiers"],
        ["modified_vgg-mnist-28-eager", "5", "20.0", "s", "smoke", "standard", "full"],
        ["vgg16-mnist-224-fast", "12", "3.5", "s", "full"],
    ]


@pytest.mark.parametrize("width", [61, 41])
def test_a_narrow_terminal_drops_optional_columns_and_says_so(width: int) -> None:
    """Without the tiers 27 + 2 + 6 and two gaps and edges need 41."""
    assert [line.split() for line in _lines(_table(), width)][:3] == [
        ["case", "n", "time"],
        ["modified_vgg-mnist-28-eager", "5", "20.0", "s"],
        ["vgg16-mnist-224-fast", "12", "3.5", "s"],
    ]
    note = " ".join(" ".join(_lines(_table(), width)).split())
    assert note.endswith("no room for tiers: a wider terminal shows it")


def test_columns_are_dropped_in_the_order_given() -> None:
    """Though the first to go stands before the other."""
    lines = _lines(_table(("n", "tiers")), 59)
    assert lines[0].split() == ["case", "time", "tiers"]


def test_a_label_without_room_stands_above_its_row() -> None:
    """One head for all, and the figures below each other."""
    assert _lines(_table(), 40)[:5] == [
        "   n    time  tiers",
        "modified_vgg-mnist-28-eager",
        "   5  20.0 s  smoke standard full",
        "vgg16-mnist-224-fast",
        "  12   3.5 s  full",
    ]


def _grouped(cell: str, width: int, optional: tuple[str, ...] = ()) -> list[str]:
    columns = (Column("metric", "left"), Column("change", min_width=9))
    rows = [["train time", cell], ["F1", "1.0"]]
    return _lines(GroupedTable(columns, [(Text("a-case"), rows)], optional), width)


def test_a_column_wraps_only_as_far_as_the_terminal_asks() -> None:
    """10 + 2 + 14 and the indent need 28; one character less moves the last word."""
    assert _grouped("1.052 and more", 28)[2] == "  train time  1.052 and more"
    assert _grouped("1.052 and more", 27)[2:4] == [
        "  train time      1.052 and",
        "                       more",
    ]


def test_a_column_narrower_than_its_least_width_is_dropped() -> None:
    """Where it is optional: 10 + 2 + 9 and the indent need 23."""
    assert _grouped("1.052 and more", 23, ("change",))[0].split() == ["metric", "change"]
    narrow = _grouped("1.052 and more", 22, ("change",))
    assert narrow[0].split() == ["metric"]
    assert "no room for change" in " ".join(narrow)


@pytest.mark.parametrize("cell", ["a [bold]b[/bold]\x1b[2J", Text("a [bold]b[/bold]\\x1b[2J")])
def test_a_cell_is_shown_and_not_obeyed(cell: Cell) -> None:
    """Neither rich's markup nor escape sequences."""
    text = render(FittingTable(COLUMNS[:2], [[cell, "1"]]), width=80, color=False)
    assert "a [bold]b[/bold]\\x1b[2J" in text
    assert "\x1b" not in text
