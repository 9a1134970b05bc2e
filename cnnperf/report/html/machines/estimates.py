"""What the machines come to: means with intervals, and ratios to the base with theirs.

Torch-free. Times and rates are compared by their logarithms, as everywhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from cnnperf.compare.stats import CONFIDENCE, Interval, Shift
from cnnperf.compare.thresholds import JUDGED
from cnnperf.record.metrics import METRICS
from cnnperf.report.html.machines.pool import Fleet, Member, Training

SHOWN = ("images_per_second", "time_to_accuracy_seconds", "energy_joules", "mfu")

LARGEST_EXPONENT = 700.0
"""Of what a float can hold."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure with what it may be at 95 %; of a single training it has no ends."""

    n: int
    """Trainings; seeds where the seed decides the figure; of a ratio the smaller side's."""
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
    """How many times better than the base: of times and energy, base over this one. None where
    the base has no figure; exactly 1, without ends, for the base itself."""
    disturbed: int
    precision: str | None


def results(fleet: Fleet, case_id: str, metric: str) -> list[Result]:
    """Of every machine that has a figure, in their order; none where the figure means nothing."""
    found = []
    for member in fleet.members:
        training = _training(member, case_id, metric)
        if training is None:
            continue
        values = training.values(metric)
        fingerprint = training.case.fingerprint
        found.append(
            Result(
                member=member,
                mean=geometric_mean(values),
                gain=_gain(fleet, member, case_id, metric, values),
                disturbed=training.disturbed,
                precision=fingerprint.precision if fingerprint is not None else None,
            )
        )
    return found


def geometric_mean(values: list[float]) -> Estimate:
    """Student's interval of the mean of the logarithms, undone.

    Args:
        values: at least one, all above 0.
    """
    logs = [math.log(value) for value in values]
    return _estimate(Shift.paired([0.0] * len(logs), logs).interval(CONFIDENCE), len(values))


def ratio(base: list[float], new: list[float]) -> Estimate:
    """New over base, with the interval that `cnnperf compare` would give it."""
    logs = [[math.log(value) for value in side] for side in (base, new)]
    return _estimate(Shift.independent(*logs).interval(CONFIDENCE), min(len(base), len(new)))


def _gain(
    fleet: Fleet, member: Member, case_id: str, metric: str, values: list[float]
) -> Estimate | None:
    if member is fleet.base:
        return Estimate(n=len(values), value=1.0, low=None, high=None)
    of_base = _training(fleet.base, case_id, metric)
    if of_base is None:
        return None
    sides = of_base.values(metric), values
    return ratio(*(sides if METRICS[metric].better == "higher" else sides[::-1]))


def _training(member: Member, case_id: str, metric: str) -> Training | None:
    """The machine's training of a case, where it has a figure that means something."""
    training = member.trainings.get(case_id)
    if training is None or not training.values(metric):
        return None
    is_of_whole = metric in JUDGED and JUDGED[metric].of_training
    return None if training.is_shortened and is_of_whole else training


def _estimate(interval: Interval, n: int) -> Estimate:
    value, low, high = (
        math.exp(max(min(end, LARGEST_EXPONENT), -LARGEST_EXPONENT))
        for end in (interval.estimate, interval.low, interval.high)
    )
    is_open = math.isinf(interval.low) or math.isinf(interval.high)
    return Estimate(n=n, value=value, low=None if is_open else low, high=None if is_open else high)
