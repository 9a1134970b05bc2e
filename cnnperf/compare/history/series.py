"""Series of points that may be compared with one another, each with its steps.

    series = find_series(loaded.points, Thresholds())
    series[0].steps[0].changes

Torch-free. A series has one case, machine and metric, one fingerprint (what was trained, on which
data) and one length of training. Software, settings and commits may change along it: those are
what moves it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

from cnnperf.compare.calibration import Calibration
from cnnperf.compare.comparability import environment_changes, fingerprint_difference
from cnnperf.compare.history.load import Point
from cnnperf.compare.history.steps import MIN_RECORDS, LevelShift, find_steps
from cnnperf.compare.stats import Interval
from cnnperf.compare.thresholds import JUDGED, MetricRule, Thresholds
from cnnperf.compare.verdicts import EnvironmentChange
from cnnperf.machine.names import Machine, identity, labels, machine_of
from cnnperf.record.metrics import METRICS

LARGEST_EXPONENT = 700.0
"""Of what a float can hold."""

LEADING = ("commit", "software.cnnperf_commit")
"""Fields that say more of a cause than any but those that forbid a comparison."""


@dataclass(frozen=True, kw_only=True)
class Level:
    """A part of a series whose values do not differ for certain."""

    start: int
    stop: int
    """One after its last point."""
    value: float
    """Median of its points' medians, outliers left out."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """A change of level."""

    before: Point
    """The last of the old level."""
    after: Point
    """The first of the new one."""
    index: int
    """Of `after`."""
    old: float
    new: float
    estimate: float
    """Ratio of new over old, or the difference of what lies between 0 and 1."""
    low: float
    """Lower end of its 95 % interval."""
    high: float
    is_better: bool
    changes: tuple[EnvironmentChange, ...]
    """What was recorded to differ between `before` and `after`, the likeliest cause first."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """One metric of one case on one machine, in the order of time."""

    case_id: str
    machine: Machine
    machine_label: str
    metric: str
    rule: MetricRule
    points: tuple[Point, ...]
    distinction: str | None
    """What sets it apart from other series of the same case, machine and metric: another recipe,
    model or precision, or shortened trainings; None where there is no other."""
    levels: tuple[Level, ...]
    steps: tuple[Step, ...]
    outliers: frozenset[int]
    """Places of points far from all around them."""

    @property
    def by_ratio(self) -> bool:
        """Whether its values are compared by their ratio, else by their difference."""
        return JUDGED[self.metric].by_ratio

    @property
    def is_too_short(self) -> bool:
        """Whether there are too few records to tell."""
        return len(self.points) < MIN_RECORDS

    @cached_property
    def title(self) -> str:
        """The case, and what sets this series apart; text of a record, not escaped."""
        return self.case_id if self.distinction is None else f"{self.case_id} ({self.distinction})"


def find_series(
    points: Iterable[Point], thresholds: Thresholds, calibrations: Sequence[Calibration] = ()
) -> list[Series]:
    """The series of all points, and the steps in each, by case, machine, metric and start.

    Points of which no ratio can be taken, and the accuracies of shortened trainings, are left out.

    Args:
        points: in any order.
        thresholds: the smallest change of level that is a step.
        calibrations: the noise of some of the machines, which widens their thresholds; of two of
            one machine the newer counts.
    """
    found: dict[tuple[str, Machine, str], dict[tuple[object, ...], list[Point]]] = {}
    kinds = _Kinds()
    for point in points:
        if _is_usable(point):
            place = (point.case_id, kinds.machine(point), point.metric)
            found.setdefault(place, {}).setdefault(kinds.kind(point), []).append(point)
    names = labels(sorted({machine for _, machine, _ in found}, key=str))
    order = list(METRICS)
    places = sorted(found, key=lambda p: (p[0], names[p[1]], order.index(p[2])))
    newest_first = sorted(calibrations, key=lambda each: each.created, reverse=True)
    return [
        _series(place, names[place[1]], kind, distinction,
                _rule(kind[0], thresholds, newest_first))
        for place in places
        for kind, distinction in _distinguished(found[place].values())
    ]  # fmt: skip


def _rule(point: Point, thresholds: Thresholds, calibrations: Sequence[Calibration]) -> MetricRule:
    """What counts in this point's series; of several calibrations of its machine the first."""
    rule = thresholds.rule(point.case_id, point.metric)
    machine = identity(point.environments[0].hardware)
    for each in calibrations:
        if identity(each.hardware) == machine:
            return each.widen(rule, point.case_id, point.metric, shortened=point.shortened)
    return rule


class _Kinds:
    """What decides in which series a point belongs; thousands share one environment."""

    def __init__(self) -> None:
        self._machines: dict[int, Machine] = {}
        self._digests: dict[int, str] = {}

    def machine(self, point: Point) -> Machine:
        """The machine."""
        key = id(point.environments)
        if key not in self._machines:
            self._machines[key] = machine_of(point.environments[0])
        return self._machines[key]

    def kind(self, point: Point) -> tuple[object, ...]:
        """What the points of a series have in common, beside case, machine and metric."""
        fingerprint = point.fingerprint
        if fingerprint is not None and id(fingerprint) not in self._digests:
            self._digests[id(fingerprint)] = fingerprint.digest
        digest = None if fingerprint is None else self._digests[id(fingerprint)]
        return digest, point.steps if point.shortened else None, _is_deterministic(point)


def _is_usable(point: Point) -> bool:
    judged = JUDGED[point.metric]
    return not (judged.by_ratio and point.low <= 0) and not (judged.of_training and point.shortened)


def _is_deterministic(point: Point) -> bool:
    return any(each.settings.deterministic_algorithms for each in point.environments)


def _distinguished(
    kinds: Iterable[Sequence[Point]],
) -> list[tuple[tuple[Point, ...], str | None]]:
    """By their starts; each but the longest told apart from the longest."""
    ordered = sorted(
        (sorted(kind, key=lambda point: (point.created, point.file)) for kind in kinds),
        key=lambda kind: (kind[0].created, kind[0].file),
    )
    main = max(ordered, key=len)[0]
    return [(tuple(kind), _distinction(kind[0], main)) for kind in ordered]


def _distinction(point: Point, main: Point) -> str | None:
    parts = []
    if point.shortened:
        parts.append(f"shortened to {point.steps:,} steps")
    if _is_deterministic(point):
        parts.append("deterministic")
    if point is not main and point.fingerprint != main.fingerprint:
        parts.append(_other(point, main))
    return ", ".join(parts) or None


def _other(point: Point, main: Point) -> str:
    if point.fingerprint is None or main.fingerprint is None:
        return "nothing is recorded of what was trained"
    difference = fingerprint_difference(main.fingerprint, point.fingerprint)
    return f"not comparable: {difference}"


def _series(
    place: tuple[str, Machine, str],
    machine_label: str,
    points: tuple[Point, ...],
    distinction: str | None,
    rule: MetricRule,
) -> Series:
    case_id, machine, metric = place
    by_ratio = JUDGED[metric].by_ratio
    values = [math.log(point.median) if by_ratio else point.median for point in points]
    limit = math.log1p(rule.threshold) if by_ratio else rule.threshold
    found = find_steps(values, limit)
    places = [_place(points, step, found.outliers) for step in found.steps]
    bounds = [0, *places, len(points)]
    levels = tuple(
        Level(start=start, stop=stop, value=_undo(each.value, by_ratio))
        for each, start, stop in zip(found.levels, bounds, bounds[1:], strict=False)
    )
    return Series(
        case_id=case_id,
        machine=machine,
        machine_label=machine_label,
        metric=metric,
        rule=rule,
        points=points,
        distinction=distinction,
        levels=levels,
        steps=tuple(
            _step(points, metric, (old, new), step.shift)
            for step, old, new in zip(found.steps, levels, levels[1:], strict=False)
        ),
        outliers=found.outliers,
    )


def _step(
    points: Sequence[Point], metric: str, levels: tuple[Level, Level], shift: Interval
) -> Step:
    old, new = levels
    before, after = points[new.start - 1], points[new.start]
    interval = _shown(shift, JUDGED[metric].by_ratio)
    return Step(
        before=before,
        after=after,
        index=new.start,
        old=old.value,
        new=new.value,
        estimate=interval.estimate,
        low=interval.low,
        high=interval.high,
        is_better=(shift.estimate < 0) == (METRICS[metric].better == "lower"),
        changes=_changes(before, after),
    )


def _place(points: Sequence[Point], step: LevelShift, outliers: frozenset[int]) -> int:
    """Where the step was; of equally plausible places the nearest at which something changed."""
    near = sorted(range(step.earliest, step.latest + 1), key=lambda i: (abs(i - step.index), i))
    for index in near:
        if index not in outliers and _changes(points[index - 1], points[index]):
            return index
    return step.index


def _undo(value: float, by_ratio: bool) -> float:
    return math.exp(min(value, LARGEST_EXPONENT)) if by_ratio else value


def _shown(interval: Interval, by_ratio: bool) -> Interval:
    estimate, low, high = (
        _undo(value, by_ratio) for value in (interval.estimate, interval.low, interval.high)
    )
    return Interval(estimate=estimate, low=low, high=high, confidence=interval.confidence)


def _changes(before: Point, after: Point) -> tuple[EnvironmentChange, ...]:
    """Every field that differs, what forbids a comparison first, then commits."""
    changes = environment_changes(before.environments, after.environments, frozenset())
    if before.commit != after.commit and before.commit and after.commit:
        commits = (short_commit(point) for point in (before, after))
        changes.append(EnvironmentChange(field="commit", base=next(commits), new=next(commits)))
    return tuple(sorted(changes, key=lambda c: (not c.forbids, c.field not in LEADING)))


def short_commit(point: Point) -> str:
    """As git shortens it; `+` for changes that were not committed; empty without one."""
    return "" if point.commit is None else point.commit[:12] + "+" * point.dirty


def by_case(series: Sequence[Series]) -> list[tuple[str, list[Series]]]:
    """The series of each case."""
    return [(case, list(found)) for case, found in groupby(series, key=lambda s: s.case_id)]
