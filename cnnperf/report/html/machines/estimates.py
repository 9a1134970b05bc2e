"""Means of each machine and ratios to the base, with 95 % intervals, from logarithms."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cnnperf.compare.stats import CONFIDENCE, Interval, Shift
from cnnperf.compare.thresholds import JUDGED
from cnnperf.record.metrics import METRICS
from cnnperf.record.schema import CaseRecord
from cnnperf.report.html.machines.pool import Fleet, Member, disturbed_count, values_by_seed

LARGEST_EXPONENT = 700.0
"""Of a number that a float can hold."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A value with its 95 % interval; a single training has no interval."""

    n: int
    """Trainings; seeds where the seed decides the value; of a ratio the smaller side's."""
    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Result:
    """One metric of one case on one machine."""

    member: Member
    mean: Estimate
    """Geometric mean over the repeats."""
    gain: Estimate | None
    """How many times better than the base: of times and energy, base over this machine. None where
    the base has no value; exactly 1, without interval, for the base itself."""
    disturbed: int
    precision: str | None


def results(fleet: Fleet, case_id: str, metric: str) -> list[Result]:
    """Return a result for each machine that has a meaningful value."""
    base = _values(fleet.base, case_id, metric)
    return [
        Result(
            member=member,
            mean=geometric_mean(values),
            gain=_gain(base, values, metric, is_base=member is fleet.base),
            disturbed=disturbed_count(member.cases[case_id]),
            precision=_precision(member.cases[case_id]),
        )
        for member in fleet.members
        if (values := _values(member, case_id, metric))
    ]


def _precision(case: CaseRecord) -> str | None:
    return case.fingerprint.precision if case.fingerprint is not None else None


def _values(member: Member, case_id: str, metric: str) -> list[float]:
    """Return the machine's values; none where a shortened training says nothing about them."""
    case = member.cases.get(case_id)
    is_of_whole = metric in JUDGED and JUDGED[metric].of_training
    return [] if case is None or (case.shortened and is_of_whole) else values_by_seed(case, metric)


def geometric_mean(values: list[float]) -> Estimate:
    """Return the mean with Student's interval.

    Args:
        values: at least one, all above 0.
    """
    logs = [math.log(value) for value in values]
    return _estimate(Shift.paired([0.0] * len(logs), logs).interval(CONFIDENCE), len(values))


def _gain(base: list[float], new: list[float], metric: str, *, is_base: bool) -> Estimate | None:
    """Return the ratio with the interval that `cnnperf compare` would give it."""
    if is_base:
        return Estimate(n=len(new), value=1.0, low=None, high=None)
    if not base:
        return None
    sides = (base, new) if METRICS[metric].better == "higher" else (new, base)
    logs = [[math.log(value) for value in side] for side in sides]
    return _estimate(Shift.independent(*logs).interval(CONFIDENCE), min(len(base), len(new)))


def _estimate(interval: Interval, n: int) -> Estimate:
    value, low, high = (
        math.exp(max(min(end, LARGEST_EXPONENT), -LARGEST_EXPONENT))
        for end in (interval.estimate, interval.low, interval.high)
    )
    is_open = math.isinf(interval.low) or math.isinf(interval.high)
    return Estimate(n=n, value=value, low=None if is_open else low, high=None if is_open else high)
