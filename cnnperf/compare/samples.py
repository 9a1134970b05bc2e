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

    @property
    def by_ratio(self) -> bool:
        """Whether new is compared with base by their ratio, else by their difference."""
        return JUDGED[self.metric].by_ratio

    @property
    def has_ratio(self) -> bool:
        """Whether there is a ratio or a difference to speak of."""
        return bool(self.new) and not (self.by_ratio and min(*self.base, *self.new) <= 0)

    @property
    def medians(self) -> tuple[float | None, float | None]:
        """Of base and new."""
        return statistics.median(self.base), statistics.median(self.new) if self.new else None

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
    """The values of one metric; None where base has none, or all are 0 on both sides."""
    first, second = _seeded(base, metric), _seeded(new, metric)
    if not any(value for _, value in (*first, *second)) or not first:
        return None
    paired = JUDGED[metric].seed_decides and _can_be_paired(first, second)
    if paired:
        common = sorted(dict(first).keys() & dict(second).keys())
        first = [(seed, dict(first)[seed]) for seed in common]
        second = [(seed, dict(second)[seed]) for seed in common]
    return Sample(
        case_id=base.id,
        metric=metric,
        base=tuple(value for _, value in first),
        new=tuple(value for _, value in second),
        paired=paired,
        rule=rule,
    )


def _seeded(case: CaseRecord, metric: str) -> Seeded:
    values = ((repeat.seed, getattr(repeat.metrics, metric)) for repeat in case.repeats)
    return [(seed, float(value)) for seed, value in values if value is not None]


def _can_be_paired(first: Seeded, second: Seeded) -> bool:
    """Whether every seed of the smaller side is once on the other, and there are two or more."""
    one, other = [seed for seed, _ in first], [seed for seed, _ in second]
    unique = len(set(one)) == len(one) and len(set(other)) == len(other)
    return unique and len({*one} & {*other}) == min(len(one), len(other)) >= 2
