"""Lay out tables so that a terminal shows every id and figure whole.

    FittingTable((Column("case", "left"), Column("n"), Column("tiers")), rows, optional=("tiers",))

A narrow terminal loses the optional columns first. Then the first column, usually a case id, moves
to a line of its own above the rest of its row. Nothing is cut with an ellipsis.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, JustifyMethod, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cnnperf.errors import printable

INDENT = 2
"""Characters by which the rows of a group stand to the right of its title."""

GAP = 2
"""Characters between two columns."""

Cell = str | Text
"""A plain string is shown as it is: never as markup, never as a terminal's escape sequence."""

TableGroup = tuple[Text, Sequence[Sequence[Cell]]]
"""A title and the rows below it."""


class Column(NamedTuple):
    """One column of a table."""

    head: str
    justify: JustifyMethod = "right"
    min_width: int | None = None
    """Characters to which a group's column may be wrapped at spaces; None: it never wraps."""


def new_table(columns: Sequence[Column], rows: Sequence[Sequence[Cell]] = ()) -> Table:
    """Create a table in the style of all outputs, none of whose cells wraps."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for column in columns:
        table.add_column(column.head, justify=column.justify, vertical="bottom", no_wrap=True)
    for row in rows:
        table.add_row(*map(as_text, row))
    return table


def as_text(cell: Cell) -> Text:
    """Turn a cell into text that contains no markup and no control character."""
    return cell if isinstance(cell, Text) else Text(printable(cell))


def fits(table: Table, console: Console, options: ConsoleOptions) -> bool:
    """Return whether a table can be shown without cutting or folding a cell."""
    needed = console.measure(table, options=options.update(max_width=1000)).maximum
    return needed <= options.max_width


@dataclass(frozen=True)
class FittingTable:
    """A table that loses its optional columns, then its label column, until it fits."""

    columns: Sequence[Column]
    """The first one holds the rows' labels."""
    rows: Sequence[Sequence[Cell]]
    optional: Sequence[str] = ()
    """Heads of columns that a narrow terminal does without, the first to go first."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Show the widest form for which there is room."""
        for count in range(len(self.optional) + 1):
            dropped = self.optional[:count]
            kept = [i for i, column in enumerate(self.columns) if column.head not in dropped]
            rows = [[row[i] for i in kept] for row in self.rows]
            table = new_table([self.columns[i] for i in kept], rows)
            if fits(table, console, options):
                yield table
                yield from _dropped_note(self.columns, kept)
                return
        groups = [(as_text(label), [cells]) for label, *cells in self.rows]
        yield GroupedTable(self.columns[1:], groups, self.optional)


@dataclass(frozen=True)
class GroupedTable:
    """Rows below the titles of their groups, with one head and equally wide columns for all."""

    columns: Sequence[Column]
    groups: Sequence[TableGroup]
    optional: Sequence[str] = ()
    """Heads of columns that a narrow terminal does without, the first to go first."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Show the head, then each title with its rows."""
        widths = self._fitted_widths(options.max_width - INDENT)
        has_gaps = any(len(rows) > 1 for _, rows in self.groups)
        yield ""
        yield self._table(widths)
        for title, rows in self.groups:
            title.overflow = "fold"
            yield title
            if rows:
                yield self._table(widths, rows)
            if has_gaps:
                yield ""
        if not has_gaps:
            yield ""
        yield from _dropped_note(self.columns, widths)

    def _fitted_widths(self, room: int) -> dict[int, int]:
        """Return the width of each column that is shown, by its index."""
        natural = self._natural_widths()
        for count in range(len(self.optional) + 1):
            dropped = self.optional[:count]
            widths = {i: w for i, w in natural.items() if self.columns[i].head not in dropped}
            excess = sum(widths.values()) + GAP * (len(widths) - 1) - room
            for index in reversed(widths):
                least = self.columns[index].min_width
                if least is not None and excess > 0:
                    cut = min(excess, max(0, widths[index] - least))
                    widths[index] -= cut
                    excess -= cut
            if excess <= 0:
                break
        return widths

    def _natural_widths(self) -> dict[int, int]:
        rows = [row for _, rows in self.groups for row in rows]
        return {
            index: max(
                cell_len(line)
                for text in (column.head, *(str(row[index]) for row in rows))
                for line in text.split("\n")
            )
            for index, column in enumerate(self.columns)
        }

    def _table(
        self, widths: Mapping[int, int], rows: Sequence[Sequence[Cell]] = ()
    ) -> RenderableType:
        """Create the table of one group; without rows, the head alone."""
        table = new_table([])
        table.show_edge, table.show_header = False, not rows
        for index, width in widths.items():
            column = self.columns[index]
            table.add_column(
                column.head,
                justify=column.justify,
                width=width,
                vertical="top" if rows else "bottom",
                overflow="fold",
            )
        for row in rows:
            table.add_row(*(as_text(row[index]) for index in widths))
        return Padding(table, (0, 0, 0, INDENT), expand=False)


def _dropped_note(columns: Sequence[Column], kept: Iterable[int]) -> Iterator[Text]:
    shown = set(kept)
    heads = [" ".join(each.head.split()) for i, each in enumerate(columns) if i not in shown]
    if heads:
        yield Text(f"no room for {', '.join(heads)}: a wider terminal shows it", style="dim")
