"""Series of points that may be compared with one another, each with its steps.

    series = find_series(loaded.points, Thresholds())
    series[0].steps[0].changes

A series has one case, machine and metric, one fingerprint (what was trained, on which data) and one
length of training. Software, settings and commits may change along it: they cause the steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby

from cnnperf.compare.calibration import Calibration
from cnnperf.compare.comparability import environment_changes, fingerprint_difference
from cnnperf.compare.history.load import Point
from cnnperf.compare.history.steps import MIN_RECORDS, Level, LevelShift, find_steps
from cnnperf.compare.thresholds import JudgedMetric, MetricRule, Thresholds, judged_as
from cnnperf.compare.verdicts import EnvironmentChange
from cnnperf.machine.names import Machine, identity, labels, machine_of
from cnnperf.record.metrics import METRICS, Metric, of_quality

LARGEST_EXPONENT = 700.0
"""`math.exp` overflows shortly above it."""

LEADING_FIELDS = ("commit", "software.cnnperf_commit")
"""Likely causes of a step, named first after the changes that forbid a comparison."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """A change of level."""

    before: Point
    """Last point of the old level."""
    after: Point
    """First point of the new level."""
    index: int
    """Position of `after` in the series."""
    old: float
    new: float
    estimate: float
    """Ratio new/old, or the difference for accuracy and F1."""
    low: float
    """Lower end of the estimate's 95 % interval."""
    high: float
    is_better: bool
    changes: tuple[EnvironmentChange, ...]
    """Recorded differences between `before` and `after`, the likeliest cause first."""


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
    """Difference from other series of the same case, machine and metric (another recipe, model or
    precision, shortened trainings); None if there is no other."""
    levels: tuple[Level, ...]
    """Their values are in the metric's unit."""
    steps: tuple[Step, ...]
    outliers: frozenset[int]
    """Positions of points far from all around them."""

    @property
    def by_ratio(self) -> bool:
        """Whether values are compared by ratio, else by difference."""
        return _judged(self.points[0]).by_ratio

    @property
    def described(self) -> Metric:
        """The metric with its label and format."""
        quality = self.points[-1].quality
        return METRICS[self.metric] if quality is None else of_quality(quality)

    @property
    def is_too_short(self) -> bool:
        """Whether there are too few records to find a step."""
        return len(self.points) < MIN_RECORDS

    @cached_property
    def title(self) -> str:
        """The case and the distinction; text of a record, not escaped."""
        return self.case_id if self.distinction is None else f"{self.case_id} ({self.distinction})"


def find_series(
    points: Iterable[Point], thresholds: Thresholds, calibrations: Sequence[Calibration] = ()
) -> list[Series]:
    """Group points into series sorted by case, machine, metric and start, and find their steps.

    Points without a ratio (a time of 0) and accuracies of shortened trainings are left out.

    Args:
        points: in any order.
        thresholds: the smallest change of level that is a step.
        calibrations: noise of some machines, which widens their thresholds; the newest of a
            machine counts.
    """
    usable = [point for point in points if _is_usable(point)]
    # Thousands of points share an environment, so that each is described once.
    environments = {id(point.environments): point.environments for point in usable}
    machines = {key: machine_of(each[0]) for key, each in environments.items()}
    fingerprints = {id(point.fingerprint): point.fingerprint for point in usable}
    digests = {key: each and each.digest for key, each in fingerprints.items()}
    found: dict[tuple[str, Machine, str], dict[tuple[object, ...], list[Point]]] = {}
    for point in usable:
        place = (point.case_id, machines[id(point.environments)], point.metric)
        steps = point.steps if point.shortened else None
        quality = point.quality and (point.quality.better, point.quality.unit)
        kind = (digests[id(point.fingerprint)], steps, point.is_deterministic, quality)
        found.setdefault(place, {}).setdefault(kind, []).append(point)
    names = labels(sorted({machine for _, machine, _ in found}, key=str))
    order = {name: number for number, name in enumerate(METRICS)}
    places = sorted(found, key=lambda p: (p[0], names[p[1]], order.get(p[2], len(order)), p[2]))
    newest_first = sorted(calibrations, key=lambda each: each.created, reverse=True)
    return [
        _series(place, names[place[1]], kind, distinction,
                _rule(kind[0], thresholds, newest_first))
        for place in places
        for kind, distinction in _distinguished(found[place].values())
    ]  # fmt: skip


def _rule(point: Point, thresholds: Thresholds, calibrations: Sequence[Calibration]) -> MetricRule:
    """Return the rule for the point's series, widened by the first calibration of its machine."""
    rule = thresholds.rule(point.case_id, point.metric, point.quality)
    machine = identity(point.environments[0].hardware)
    for each in calibrations:
        if identity(each.hardware) == machine:
            return each.widen(rule, point.case_id, point.metric, shortened=point.shortened)
    return rule


def _judged(point: Point) -> JudgedMetric:
    return judged_as(point.metric, point.quality)


def _is_usable(point: Point) -> bool:
    judged = _judged(point)
    return not (judged.by_ratio and point.low <= 0) and not (judged.of_training and point.shortened)


def _distinguished(kinds: Iterable[Sequence[Point]]) -> list[tuple[tuple[Point, ...], str | None]]:
    """Sort kinds by start, and describe how each differs from the longest."""
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
    if point.is_deterministic:
        parts.append("deterministic")
    if point is not main and point.fingerprint != main.fingerprint:
        if point.fingerprint is None or main.fingerprint is None:
            parts.append("what was trained is not recorded")
        else:
            difference = fingerprint_difference(main.fingerprint, point.fingerprint)
            parts.append(f"not comparable: {difference}")
    return ", ".join(parts) or None


def _series(
    place: tuple[str, Machine, str],
    machine_label: str,
    points: tuple[Point, ...],
    distinction: str | None,
    rule: MetricRule,
) -> Series:
    case_id, machine, metric = place
    by_ratio = _judged(points[0]).by_ratio
    values = [math.log(point.median) if by_ratio else point.median for point in points]
    limit = math.log1p(rule.threshold) if by_ratio else rule.threshold
    found = find_steps(values, limit)
    starts = [0, *(_likeliest_start(points, step, found.outliers) for step in found.steps)]
    levels = tuple(
        replace(level, start=start, stop=stop, value=_unscaled(level.value, by_ratio))
        for level, start, stop in zip(found.levels, starts, [*starts[1:], len(points)], strict=True)
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
            _step(points, old, new, step)
            for step, old, new in zip(found.steps, levels, levels[1:], strict=False)
        ),
        outliers=found.outliers,
    )


def _step(points: Sequence[Point], old: Level, new: Level, step: LevelShift) -> Step:
    before, after = points[new.start - 1], points[new.start]
    judged, shift = _judged(after), step.shift
    by_ratio = judged.by_ratio
    return Step(
        before=before,
        after=after,
        index=new.start,
        old=old.value,
        new=new.value,
        estimate=_unscaled(shift.estimate, by_ratio),
        low=_unscaled(shift.low, by_ratio),
        high=_unscaled(shift.high, by_ratio),
        is_better=(shift.estimate < 0) == (judged.better == "lower"),
        changes=_changes(before, after),
    )


def _likeliest_start(points: Sequence[Point], step: LevelShift, outliers: frozenset[int]) -> int:
    """Return the nearest plausible position at which something recorded changed, if any."""
    near = sorted(range(step.earliest, step.latest + 1), key=lambda i: (abs(i - step.index), i))
    for index in near:
        if index not in outliers and _changes(points[index - 1], points[index]):
            return index
    return step.index


def _unscaled(value: float, by_ratio: bool) -> float:
    return math.exp(min(value, LARGEST_EXPONENT)) if by_ratio else value


def _changes(before: Point, after: Point) -> tuple[EnvironmentChange, ...]:
    """List the fields that differ: first those that forbid a comparison, then commits."""
    changes = environment_changes(before.environments, after.environments, frozenset())
    if before.commit != after.commit and before.commit and after.commit:
        base, new = short_commit(before), short_commit(after)
        changes.append(EnvironmentChange(field="commit", base=base, new=new))
    return tuple(sorted(changes, key=lambda c: (not c.forbids, c.field not in LEADING_FIELDS)))


def short_commit(point: Point) -> str:
    """Shorten the commit as git does, with `+` for uncommitted changes; empty without a commit."""
    return "" if point.commit is None else point.commit[:12] + "+" * point.dirty


def by_case(series: Sequence[Series]) -> list[tuple[str, list[Series]]]:
    """Group sorted series by case."""
    return [(case, list(found)) for case, found in groupby(series, key=lambda s: s.case_id)]
