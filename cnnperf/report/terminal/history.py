"""Show a history on a terminal: a row for each series and a line for each step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from cnnperf.compare.history.load import Loaded
from cnnperf.compare.history.series import Series
from cnnperf.compare.history.steps import MIN_RECORDS
from cnnperf.errors import printable
from cnnperf.record.metrics import ABSENT
from cnnperf.report.terminal.layout import Cell, Column, GroupedTable
from cnnperf.report.wording import counted
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
"""Steps that have a line of their own, the newest first."""

COLUMNS = (
    Column("metric", "left"),
    Column("records"),
    Column("first to last", "left"),
    Column("latest"),
    Column("steps"),
    Column("last step", "left", min_width=24),
)

STYLES = {"better": "green", "worse": "bold red"}


def history_summary(loaded: Loaded, series: Sequence[Series]) -> RenderableType:
    """Return everything there is to see, the answer last, where the reader's eye ends up."""
    has_steps = any(each.steps for each in series)
    return Group(
        _table(series),
        *_step_lines(series),
        *(Text(printable(note), style="dim") for note in loaded.notes),
        Text(summary(series, loaded.records), style="bold" if has_steps else ""),
    )


def _table(series: Sequence[Series]) -> GroupedTable:
    groups: dict[str, list[Series]] = {}
    for each in series:
        groups.setdefault(printable(f"{each.title} on {each.machine_label}"), []).append(each)
    return GroupedTable(
        COLUMNS,
        [(_title(name, found), list(map(_cells, found))) for name, found in groups.items()],
        optional=("last step",),
    )


def _title(name: str, found: Sequence[Series]) -> Text:
    title = Text(name, style="bold")
    if all(each.is_too_short for each in found):
        title.append(f" (too few records to judge: {MIN_RECORDS} are needed)", "not bold dim")
    return title


def _cells(series: Series) -> list[Cell]:
    metric, points = series.described, series.points
    return [
        metric.label,
        f"{len(points):,}",
        span(points[0].created, points[-1].created),
        metric.show(points[-1].median),
        ABSENT if series.is_too_short else str(len(series.steps)),
        _last_step(series),
    ]


def _last_step(series: Series) -> Text:
    if not series.steps:
        return Text(ABSENT, style="dim")
    step = series.steps[-1]
    moved = effect(series, step).partition(" (")[0]
    text = f"{day(step.after.created)} {moved}: {cause(step.changes, most=1)}"
    return Text(text, style=STYLES[quality(step)])


def _step_lines(series: Sequence[Series]) -> Iterator[Text]:
    found = [(each, step) for each in series for step in each.steps]
    found.sort(key=lambda pair: pair[1].after.created, reverse=True)
    for each, step in found[:MAX_STEPS]:
        text = (
            f"{quality(step)}: {printable(each.title)} on {printable(each.machine_label)}, "
            f"{each.described.label}: {levels(each, step)}, {effect(each, step)}, "
            f"{day(step.after.created)}, between {between(step)}: {cause(step.changes)}"
        )
        yield Text(text, style=STYLES[quality(step)])
    if (more := len(found) - MAX_STEPS) > 0:
        steps = counted(more, "earlier step")
        yield Text(f"and {steps}: -o FILE writes a page with all of them", "dim")
