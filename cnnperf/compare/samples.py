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

from cnnperf.compare.accuracy_resolution import least_sd
from cnnperf.compare.rules import Words
from cnnperf.compare.stats import Interval, Shift, p_fewer
from cnnperf.compare.thresholds import JUDGED, MetricRule
from cnnperf.record.metrics import METRICS
from cnnperf.record.schema import CaseRecord

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
    missed: tuple[int, int] = (0, 0)
    """Seeds of base and of new that never got there, of a metric that is a time until something:
    later than any that did, so what is left of the others is no fair picture of a side."""
    least_sd: float = 0.0
    """What the values are taken to vary at least, however few of them there are."""

    @property
    def by_ratio(self) -> bool:
        """Whether new is compared with base by their ratio, else by their difference."""
        return JUDGED[self.metric].by_ratio

    @property
    def has_ratio(self) -> bool:
        """Whether there is a ratio or a difference to speak of."""
        if not self.base or not self.new or self.is_censored:
            return False
        return not (self.by_ratio and min(*self.base, *self.new) <= 0)

    @property
    def is_censored(self) -> bool:
        """Whether some seeds never got there, so that counts are compared instead of times."""
        return any(self.missed)

    @property
    def is_decidable(self) -> bool:
        """Whether any values of so many trainings could be certain of a change."""
        return self.is_censored or self.shift.is_decidable

    @property
    def p_worse(self) -> float:
        """How likely such values are if new is not worse by more than the threshold."""
        if self.is_censored:
            return p_fewer(*self._reached[1], *self._reached[0])
        return self.shift.p_above(self.limit)

    @property
    def p_better(self) -> float:
        """The same of better."""
        if self.is_censored:
            return p_fewer(*self._reached[0], *self._reached[1])
        return self.shift.p_below(-self.limit)

    @property
    def _reached(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Of base and of new: how many got there, of how many."""
        base, new = len(self.base), len(self.new)
        return (base, base + self.missed[0]), (new, new + self.missed[1])

    def reached(self, words: Words) -> str:
        """The same as a clause."""
        (base, of_base), (new, of_new) = self._reached
        return (
            f"{new or 'none'} of {of_new} trainings of {words.new} reached the target accuracy, "
            f"{base or 'none'} of {of_base} of {words.base}"
        )

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
        sides = self._turned(self.base), self._turned(self.new)
        return between(*sides, least_sd=self.least_sd)

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

    That is where base has none and there is no floor, and where a ratio's are all 0; of a time
    until something, where no training of either side got there: there may be nothing to get to.
    """
    first, second = _seeded(base, metric), _seeded(new, metric)
    trainings = tuple(value for _, value in second)
    judged, missed = JUDGED[metric], (0, 0)
    if judged.may_be_missed and (first or second):
        (first, missed_base), (second, missed_new) = _reached(base, metric), _reached(new, metric)
        missed = missed_base, missed_new
    if not any(missed) and not first and (rule.floor is None or not second):
        return None
    if judged.by_ratio and not any(missed) and not any(value for _, value in (*first, *second)):
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
        paired=paired and not any(missed),
        rule=rule,
        trainings=trainings,
        missed=missed,
        least_sd=0.0 if judged.by_ratio else least_sd(base, new, metric),
    )


def _reached(case: CaseRecord, metric: str) -> tuple[Seeded, int]:
    """The values of the seeds that always got there, and how many others there are."""
    missed = {repeat.seed for repeat in case.repeats if getattr(repeat.metrics, metric) is None}
    return [each for each in _seeded(case, metric) if each[0] not in missed], len(missed)


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
