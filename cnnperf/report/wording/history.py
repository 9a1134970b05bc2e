"""Put the steps and series of a history into words, for the terminal and the page.

Only control characters are escaped here: whoever prints a text escapes it for its format.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from cnnperf.compare.history.series import Series, Step, short_commit
from cnnperf.compare.verdicts import EnvironmentChange
from cnnperf.errors import printable
from cnnperf.record.metrics import METRICS
from cnnperf.report.wording import counted, some
from cnnperf.report.wording.comparison import where_they_part

NOTHING = "nothing recorded changed"

MAX_CHANGES = 3

MAX_VALUE = 40
"""Characters of a field's value that are shown; a CPU's list of features is longer."""


def day(moment: datetime) -> str:
    """Return a date in UTC."""
    return f"{moment:%Y-%m-%d}"


def minute(moment: datetime) -> str:
    """Return a date and time in UTC."""
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def span(first: datetime, last: datetime) -> str:
    """Return two dates, or one where they are equal."""
    return day(first) if day(first) == day(last) else f"{day(first)} to {day(last)}"


def quality(step: Step) -> str:
    """Return `better` or `worse`."""
    return "better" if step.is_better else "worse"


def levels(series: Series, step: Step) -> str:
    """Return the levels before and after a step."""
    metric = series.described
    return f"{metric.show(step.old)} → {metric.show(step.new)}"


def effect(series: Series, step: Step) -> str:
    """Return how far the level moved, with its interval.

    `+5.2 % (+4.8 % to +5.6 %)`, `-0.80 points (-1.10 to -0.50)` or `-0.8 dB (-1.1 to -0.5)`.
    """
    values = (step.estimate, step.low, step.high)
    if not series.by_ratio and series.metric not in METRICS:
        moved, low, high = (f"{value:+.4g}" for value in values)
        unit = series.described.unit
        return moved + f" {unit}" * (unit != "1") + f" ({low} to {high})"
    if series.by_ratio:
        moved, low, high = (f"{100 * (value - 1):+.1f} %" for value in values)
        return f"{moved} ({low} to {high})"
    moved, low, high = (f"{100 * value:+.2f}" for value in values)
    return f"{moved} points ({low} to {high})"


def between(step: Step) -> str:
    """Return the two records around a step: `a.json (1f2e3d) and b.json (4c5b6a)`."""
    return " and ".join(
        printable(Path(point.file).name) + (f" ({printable(commit)})" if commit else "")
        for point in (step.before, step.after)
        for commit in [short_commit(point)]
    )


def cause(changes: Sequence[EnvironmentChange], most: int = MAX_CHANGES) -> str:
    """Return what changed: `torch 2.14.1 → 2.15.0, cudnn 9.1 → 9.2 and 1 more`."""
    return some([_change(change) for change in changes], most) or NOTHING


def _change(change: EnvironmentChange) -> str:
    name = change.field.removeprefix("software.").removeprefix("settings.").replace("_", " ")
    base, new = where_they_part(change.base, change.new)
    base, new = (
        text if len(text) <= MAX_VALUE else text[: MAX_VALUE - 1] + "…" for text in (base, new)
    )
    return printable(f"{name} {base} → {new}")


def summary(series: Sequence[Series], records: int) -> str:
    """Return one line on everything; of the `records` that were read not all need be shown."""
    steps = [step for each in series for step in each.steps]
    worse = sum(not step.is_better for step in steps)
    short = sum(each.is_too_short for each in series)
    shown = len({point.file for each in series for point in each.points})
    text = f"{shown:,} of " * (shown != records) + f"{counted(records, 'record')}, "
    text += f"{len(series)} series, {counted(len(steps), 'step')}"
    text += f" ({worse} worse, {len(steps) - worse} better)" if steps else ""
    return text + (f"; {short} with too few records to judge" if short else "")
