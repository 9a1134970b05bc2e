"""What is told of a case beside its verdicts: disturbed repeats, numerics, the profiled steps.

Torch-free. Nothing here is escaped: whoever prints it escapes it for where it goes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from cnnperf.compare.profile_change import tell_profile
from cnnperf.compare.verdicts import CaseVerdicts, Contamination
from cnnperf.report.wording.comparison import Row

OF_SPEED = ("train_seconds", "images_per_second")
"""The metrics that a profile and a disturbance explain."""


class Aside(NamedTuple):
    """One sentence on a case, that gates nothing."""

    topic: str
    """As in `profile`."""
    text: str
    doubtful: bool = False
    """Whether a reader should not pass over it."""


def asides(case: CaseVerdicts, sides: tuple[str, str]) -> Iterator[Aside]:
    """Everything there is to tell beside the verdicts, by the sides' names."""
    yield from _disturbed(case.contamination, sides)
    for drift in case.drift:
        differs = drift.first_difference_step is not None
        yield Aside("numerics", drift.describe(sides), doubtful=differs)
    yield from _profiled(case)


def of_row(row: Row, sides: tuple[str, str]) -> list[str]:
    """What explains this one line, as in `profile: ...`; nothing unless it is about speed."""
    if row.name not in OF_SPEED:
        return []
    found = [*_disturbed(row.case.contamination, sides), *_profiled(row.case)]
    return [f"{aside.topic}: {aside.text}" for aside in found]


def _disturbed(seen: Contamination, sides: tuple[str, str]) -> Iterator[Aside]:
    if not (seen.base or seen.new):
        return
    base, new = sides
    done = "dropped" if seen.dropped else "kept (`cnnperf compare --drop-flagged` leaves them out)"
    plural = "" if seen.base == 1 else "s"
    counts = f"{seen.base} repeat{plural} of {base}, {seen.new} of {new}"
    yield Aside("disturbed", f"{counts} ({', '.join(seen.kinds)}): {done}", doubtful=True)


def _profiled(case: CaseVerdicts) -> Iterator[Aside]:
    told = tell_profile(case)
    if told is not None:
        yield Aside("profile", told)
