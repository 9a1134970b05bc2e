"""Lay out tables so that a terminal shows every id and figure whole.

    FittingTable((Column("case", "left"), Column("n"), Column("tiers")), rows, optional=("tiers",))

A narrow terminal loses the optional columns first. Then the first column, usually a case id, moves
to a line of its own above the rest of its row. Nothing is cut with an ellipsis.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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

EDGES = 2
"""Characters left and right of a table without groups."""

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
        room = options.max_width - EDGES
        unwrapped = [column._replace(min_width=None) for column in self.columns]
        kept = _fitted_widths(unwrapped, self.rows, self.optional, room)
        if _total(kept) > room:
            groups = [(as_text(label), [cells]) for label, *cells in self.rows]
            yield GroupedTable(self.columns[1:], groups, self.optional)
            return
        rows = [[row[index] for index in kept] for row in self.rows]
        yield new_table([self.columns[index] for index in kept], rows)
        yield from _dropped_note(self.columns, kept)


@dataclass(frozen=True)
class GroupedTable:
    """Rows below the titles of their groups, with one head and equally wide columns for all."""

    columns: Sequence[Column]
    groups: Sequence[TableGroup]
    optional: Sequence[str] = ()
    """Heads of columns that a narrow terminal does without, the first to go first."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Show the head, then each title with its rows."""
        every_row = [row for _, rows in self.groups for row in rows]
        widths = _fitted_widths(self.columns, every_row, self.optional, options.max_width - INDENT)
        has_gaps = any(len(rows) > 1 for _, rows in self.groups)
        yield ""
        yield self._table(widths)
        for title, rows in self.groups:
            yield title
            if rows:
                yield self._table(widths, rows)
            if has_gaps:
                yield ""
        if not has_gaps:
            yield ""
        yield from _dropped_note(self.columns, widths)

    def _table(
        self, widths: Mapping[int, int], rows: Sequence[Sequence[Cell]] = ()
    ) -> RenderableType:
        """Create the table of one group; without rows, the head alone."""
        columns = [self.columns[index] for index in widths]
        table = new_table(columns, [[row[index] for index in widths] for row in rows])
        table.show_edge, table.show_header = False, not rows
        for column, width in zip(table.columns, widths.values(), strict=True):
            column.width, column.no_wrap, column.overflow = width, False, "fold"
            column.vertical = "top" if rows else "bottom"
        return Padding(table, (0, 0, 0, INDENT), expand=False)


def _fitted_widths(
    columns: Sequence[Column], rows: Sequence[Sequence[Cell]], optional: Sequence[str], room: int
) -> dict[int, int]:
    """Return the width of each column to show, by its index; the least possible without room."""
    natural = {
        index: max(
            cell_len(line)
            for text in (column.head, *(str(row[index]) for row in rows))
            for line in text.split("\n")
        )
        for index, column in enumerate(columns)
    }
    for count in range(len(optional) + 1):
        dropped = optional[:count]
        widths = {i: width for i, width in natural.items() if columns[i].head not in dropped}
        for index in reversed(widths):
            least = columns[index].min_width
            if least is not None:
                excess = max(0, _total(widths) - room)
                widths[index] = max(min(least, widths[index]), widths[index] - excess)
        if _total(widths) <= room:
            break
    return widths


def _total(widths: Mapping[int, int]) -> int:
    return sum(widths.values()) + GAP * (len(widths) - 1)


def _dropped_note(columns: Sequence[Column], kept: Mapping[int, int]) -> Iterator[Text]:
    heads = [" ".join(each.head.split()) for i, each in enumerate(columns) if i not in kept]
    if heads:
        yield Text(f"no room for {', '.join(heads)}: a wider terminal shows it", style="dim")
