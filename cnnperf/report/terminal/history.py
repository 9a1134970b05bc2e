"""A history as a terminal shows it: a row a series, and a line a step.

Torch-free.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import (
    Console,
    ConsoleOptions,
    Group,
    JustifyMethod,
    RenderableType,
    RenderResult,
)
from rich.table import Table
from rich.text import Text

from cnnperf.compare.history.load import Loaded
from cnnperf.compare.history.series import Series, Step
from cnnperf.compare.history.steps import MIN_RECORDS
from cnnperf.errors import printable
from cnnperf.record.metrics import ABSENT, METRICS
from cnnperf.report.wording.history import (
    between,
    cause,
    day,
    effect,
    levels,
    quality,
    span,
    summary,
)

MAX_STEPS = 12
"""Of which a line is shown, the newest first."""

Column = tuple[str, int | None, JustifyMethod]
"""Its head, its width in characters (None for what is left), and how it is set."""

COLUMNS: tuple[Column, ...] = (
    ("  metric", 20, "left"),
    ("records", 7, "right"),
    ("first to last", 24, "left"),
    ("latest", 13, "right"),
    ("steps", 5, "right"),
    ("last step", None, "left"),
)

WIDE = 100
"""Characters a line from which on there is room for the last column."""

STYLES = {"better": "green", "worse": "bold red"}


def history_summary(loaded: Loaded, series: Sequence[Series]) -> RenderableType:
    """Everything, the answer last, where a terminal stands when it is done."""
    parts: list[RenderableType] = [SeriesTable(series), *_step_lines(series)]
    parts += [Text(printable(note), style="dim") for note in loaded.notes]
    is_steady = not any(each.steps for each in series)
    parts.append(Text(summary(series, loaded.records), style="bold" if not is_steady else ""))
    return Group(*parts)


@dataclass(frozen=True)
class SeriesTable:
    """A row a metric below the name of its case and machine, which is searched and never cut.

    A narrow terminal goes without the column of the last step, which has a line below.
    """

    series: Sequence[Series]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """One table a name, with their columns below one another."""
        columns = COLUMNS if options.max_width >= WIDE else COLUMNS[:-1]
        yield _empty_table(columns, show_header=True)
        groups: dict[str, list[Series]] = {}
        for each in self.series:
            groups.setdefault(printable(f"{each.title} on {each.machine_label}"), []).append(each)
        for name, found in groups.items():
            yield _heading(name, found)
            table = _empty_table(columns)
            for each in found:
                table.add_row(*_cells(each)[: len(columns)])
            yield table


def _heading(name: str, found: Sequence[Series]) -> Text:
    heading = Text(name, style="bold", overflow="fold")
    if all(each.is_too_short for each in found):
        told = f" (too few records to tell: {MIN_RECORDS} are needed)"
        heading.append(told, style="not bold dim")
    return heading


def _empty_table(columns: Sequence[Column], *, show_header: bool = False) -> Table:
    """With columns as wide in every table."""
    table = Table(box=None, pad_edge=False, show_header=show_header, padding=(0, 2, 0, 0))
    for head, width, justify in columns:
        table.add_column(head, width=width, justify=justify, no_wrap=width is not None,
                         overflow="fold")  # fmt: skip
    return table


def _cells(series: Series) -> tuple[RenderableType, ...]:
    metric, points = METRICS[series.metric], series.points
    return (
        Text(f"  {metric.label}"),
        f"{len(points):,}",
        span(points[0].created, points[-1].created),
        metric.show(points[-1].median),
        ABSENT if series.is_too_short else str(len(series.steps)),
        _last_step(series),
    )


def _last_step(series: Series) -> Text:
    if not series.steps:
        return Text(ABSENT, style="dim")
    step = series.steps[-1]
    moved = effect(step, series.by_ratio).partition(" (")[0]
    text = f"{day(step.after.created)} {moved}: {cause(step.changes, most=1)}"
    return Text(text, style=STYLES[quality(step)])


def _step_lines(series: Sequence[Series]) -> Iterator[Text]:
    found = [(each, step) for each in series for step in each.steps]
    found.sort(key=lambda pair: pair[1].after.created, reverse=True)
    for each, step in found[:MAX_STEPS]:
        yield Text(step_line(each, step), style=STYLES[quality(step)])
    if (more := len(found) - MAX_STEPS) > 0:
        yield Text(f"and {more} earlier: -o FILE writes a page with all of them", style="dim")


def step_line(series: Series, step: Step) -> str:
    """All that is known of a step, in one line."""
    where = f"{printable(series.title)} on {printable(series.machine_label)}"
    return (
        f"{quality(step)}: {where}, {METRICS[series.metric].label}: {levels(series, step)}, "
        f"{effect(step, series.by_ratio)}, {day(step.after.created)}, between {between(step)}: "
        f"{cause(step.changes)}"
    )
