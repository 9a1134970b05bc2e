"""Put into words what explains a case's verdicts: disturbed repeats, numerics, the profiled steps.

Nothing here is escaped: whoever prints a text from a record escapes it for its format.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from cnnperf.compare.profile_change import tell_profile
from cnnperf.compare.verdicts import CaseVerdicts, Contamination
from cnnperf.report.wording.comparison import Row

SPEED_METRICS = ("train_seconds", "images_per_second")
"""The metrics that a profile and a disturbance explain."""


class Aside(NamedTuple):
    """One sentence on a case; it does not gate."""

    topic: str
    """`disturbed`, `numerics` or `profile`."""
    text: str
    doubtful: bool = False
    """Whether it is a reason to doubt the verdict."""


def asides(case: CaseVerdicts, sides: tuple[str, str]) -> Iterator[Aside]:
    """Yield every note on a case; `sides` are the names of base and new."""
    yield from _disturbed(case.contamination, sides)
    for drift in case.drift:
        differs = drift.first_difference_step is not None
        yield Aside("numerics", drift.describe(sides), doubtful=differs)
    yield from _profiled(case)


def row_notes(row: Row, sides: tuple[str, str]) -> list[str]:
    """Return what explains this one line, `profile: ...`; nothing unless it is about speed."""
    if row.name not in SPEED_METRICS:
        return []
    found = [*_disturbed(row.case.contamination, sides), *_profiled(row.case)]
    return [f"{aside.topic}: {aside.text}" for aside in found]


def _disturbed(seen: Contamination, sides: tuple[str, str]) -> Iterator[Aside]:
    if seen.base or seen.new:
        base, new = sides
        done = "dropped" if seen.dropped else "kept (cnnperf compare --drop-flagged drops them)"
        plural = "" if seen.base == 1 else "s"
        counts = f"{seen.base} repeat{plural} of {base}, {seen.new} of {new}"
        yield Aside("disturbed", f"{counts} ({', '.join(seen.kinds)}): {done}", doubtful=True)


def _profiled(case: CaseVerdicts) -> Iterator[Aside]:
    text = tell_profile(case)
    if text is not None:
        yield Aside("profile", text)
