"""One metric of one case on both sides: its values, and how far new lies from base.

Torch-free. Every metric is turned so that up is bad: a time's logarithm, a rate's negative one, a
negative accuracy. Then one rule judges all of them.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from cnnperf.compare.stats import Interval, Shift
from cnnperf.compare.thresholds import JUDGED, MetricRule
from cnnperf.metrics import METRICS
from cnnperf.record import CaseRecord

LARGEST_EXPONENT = 700.0
"""Of what a float can hold."""

Seeded = list[tuple[int, float]]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The values that a verdict rests on."""

    case_id: str
    metric: str
    base: tuple[float, ...]
    new: tuple[float, ...]
    paired: bool
    """Whether the values at one place have one seed."""
    rule: MetricRule
    trainings: tuple[float, ...]
    """Of every training of new, for the floor: none is left out."""

    @property
    def by_ratio(self) -> bool:
        """Whether new is compared with base by their ratio, else by their difference."""
        return JUDGED[self.metric].by_ratio

    @property
    def has_ratio(self) -> bool:
        """Whether there is a ratio or a difference to speak of."""
        if not self.base or not self.new:
            return False
        return not (self.by_ratio and min(*self.base, *self.new) <= 0)

    @property
    def below_floor(self) -> int:
        """Trainings of new that are below the floor: one is enough to say that it is broken."""
        floor = self.rule.floor
        return 0 if floor is None else sum(value < floor for value in self.trainings)

    @property
    def medians(self) -> tuple[float | None, float | None]:
        """Of base and new."""
        base, new = (statistics.median(side) if side else None for side in (self.base, self.new))
        return base, new

    @property
    def limit(self) -> float:
        """The threshold on the scale of `shift`."""
        return math.log1p(self.rule.threshold) if self.by_ratio else self.rule.threshold

    @cached_property
    def shift(self) -> Shift:
        """How far new lies above base on the scale on which up is bad."""
        between = Shift.paired if self.paired else Shift.independent
        return between(self._turned(self.base), self._turned(self.new))

    def _turned(self, values: Sequence[float]) -> list[float]:
        sign = 1 if METRICS[self.metric].better == "lower" else -1
        return [sign * (math.log(value) if self.by_ratio else value) for value in values]

    def shown(self, interval: Interval) -> tuple[float, float | None, float | None]:
        """Estimate, low and high end of an interval of `shift` as ratio or difference."""
        values = [interval.estimate, interval.low, interval.high]
        if METRICS[self.metric].better == "higher":
            values = [-interval.estimate, -interval.high, -interval.low]
        if self.by_ratio:
            values = [math.exp(min(value, LARGEST_EXPONENT)) for value in values]
        estimate, low, high = values
        return (estimate, None, None) if math.isinf(interval.low) else (estimate, low, high)


def take_sample(base: CaseRecord, new: CaseRecord, metric: str, rule: MetricRule) -> Sample | None:
    """The values of one metric; None where there is nothing to hold new to.

    That is where base has none and there is no floor, and where a ratio's are all 0.
    """
    first, second = _seeded(base, metric), _seeded(new, metric)
    trainings = tuple(value for _, value in second)
    judged = JUDGED[metric]
    if not first and (rule.floor is None or not second):
        return None
    if judged.by_ratio and not any(value for _, value in (*first, *second)):
        return None
    paired = False
    if judged.seed_decides:
        first, second = _one_per_seed(first), _one_per_seed(second)
        paired = len(first) >= 2 and dict(first).keys() == dict(second).keys()
    return Sample(
        case_id=base.id,
        metric=metric,
        base=tuple(value for _, value in first),
        new=tuple(value for _, value in second),
        paired=paired,
        rule=rule,
        trainings=trainings,
    )


def _seeded(case: CaseRecord, metric: str) -> Seeded:
    values = ((repeat.seed, getattr(repeat.metrics, metric)) for repeat in case.repeats)
    return [(seed, float(value)) for seed, value in values if value is not None]


def _one_per_seed(values: Seeded) -> Seeded:
    """Means by seed, in the seeds' order.

    Files that are pooled often have the same seeds: trained again, a seed says little new of what
    it decides itself, and counted twice it would look like certainty.
    """
    by_seed: dict[int, list[float]] = {}
    for seed, value in values:
        by_seed.setdefault(seed, []).append(value)
    return [(seed, statistics.fmean(by_seed[seed])) for seed in sorted(by_seed)]
