"""How steps and series are put into words, for the terminal and the page.

Torch-free. Nothing is escaped but what cannot be printed: whoever shows it escapes it for where.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from cnnperf.compare.history.series import Series, Step, short_commit
from cnnperf.compare.verdicts import EnvironmentChange
from cnnperf.errors import printable
from cnnperf.record.metrics import METRICS

NOTHING = "nothing recorded changed"

MAX_CHANGES = 3
"""Fields that one line names."""

MAX_VALUE = 40
"""Characters of a field's value: a CPU's list of features is longer."""


def day(moment: datetime) -> str:
    """A date, in UTC."""
    return f"{moment:%Y-%m-%d}"


def span(first: datetime, last: datetime) -> str:
    """Two dates, or the one that both are."""
    return day(first) if day(first) == day(last) else f"{day(first)} to {day(last)}"


def minute(moment: datetime) -> str:
    """A date and time, in UTC."""
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def effect(step: Step, by_ratio: bool) -> str:
    """How far the level moved.

    As in `+5.2 % (+4.8 % to +5.6 %)` or `-0.80 points (-1.10 to -0.50)`.
    """
    if by_ratio:
        shown = [f"{100 * (value - 1):+.1f} %" for value in (step.estimate, step.low, step.high)]
        return f"{shown[0]} ({shown[1]} to {shown[2]})"
    shown = [f"{100 * value:+.2f}" for value in (step.estimate, step.low, step.high)]
    return f"{shown[0]} points ({shown[1]} to {shown[2]})"


def quality(step: Step) -> str:
    """`better` or `worse`."""
    return "better" if step.is_better else "worse"


def cause(changes: Sequence[EnvironmentChange], most: int = MAX_CHANGES) -> str:
    """What changed, as in `torch 2.14.1 -> 2.15.0, cudnn 9.1 -> 9.2 and 1 more`."""
    if not changes:
        return NOTHING
    more = len(changes) - most
    named = ", ".join(_change(change) for change in changes[:most])
    return named + (f" and {more} more" if more > 0 else "")


def _change(change: EnvironmentChange) -> str:
    name = change.field.removeprefix("software.").removeprefix("settings.").replace("_", " ")
    base, new = _where_they_part(change.base, change.new)
    return printable(f"{name} {base} → {new}")


def _where_they_part(base: str, new: str) -> tuple[str, str]:
    """Two long lists of words without those that both have, and not too long even so."""
    if max(len(base), len(new)) > MAX_VALUE:
        first, second = base.split(), new.split()
        base = " ".join(word for word in first if word not in second) or "without"
        new = " ".join(word for word in second if word not in first) or "without"
    return _cut(base), _cut(new)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_VALUE else text[: MAX_VALUE - 1] + "…"


def between(step: Step) -> str:
    """The two records, as in `a.json (1f2e3d) and b.json (4c5b6a)`."""
    return " and ".join(
        _record(point.file, short_commit(point)) for point in (step.before, step.after)
    )


def _record(file: str, commit: str) -> str:
    name = printable(Path(file).name)
    return f"{name} ({printable(commit)})" if commit else name


def levels(series: Series, step: Step) -> str:
    """From what to what."""
    metric = METRICS[series.metric]
    return f"{metric.show(step.old)} → {metric.show(step.new)}"


def summary(series: Sequence[Series], records: int) -> str:
    """One line on everything; `records` is how many were read, of which not all need be shown."""
    steps = [step for each in series for step in each.steps]
    worse = sum(not step.is_better for step in steps)
    short = sum(each.is_too_short for each in series)
    shown = len({point.file for each in series for point in each.points})
    text = (
        f"{shown:,} of "
        * (shown != records)
        + f"{records:,} record{'s' * (records != 1)}, {len(series)} series, "
        f"{len(steps)} step{'s' * (len(steps) != 1)}"
    )
    text += f" ({worse} worse, {len(steps) - worse} better)" if steps else ""
    return text + (f"; {short} with too few records to tell" if short else "")
