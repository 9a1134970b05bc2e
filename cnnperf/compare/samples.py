"""Samples: the values of one metric of one case on both sides.

Every metric is turned so that up is bad: the logarithm of a time, the negative logarithm of a rate,
the negative of an accuracy. One rule then judges all of them.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from cnnperf.compare.rules import Rules, Words
from cnnperf.compare.stats import Interval, Shift, p_fewer
from cnnperf.compare.thresholds import JudgedMetric, MetricRule
from cnnperf.compare.verdicts import Contamination
from cnnperf.machine.flags import DISTURBANCES
from cnnperf.record.schema import CaseRecord, Repeat

LARGEST_EXPONENT = 700.0
"""Largest x for which exp(x) is finite as a float."""

HALF_AN_IMAGE = 0.5
"""Least standard deviation of an accuracy, in images. Trainings that all lose the same four images
look as if nothing varied, but with a mean loss of four and a half images every third row of three
looks like that. A count that varies only between two neighbours has up to this deviation."""

ROUNDING = 1e-9
"""Accuracies that differ by less are equal: no test set has so many images."""

Seeded = list[tuple[int, float]]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The values that a verdict is based on."""

    case_id: str
    metric: str
    base: tuple[float, ...]
    new: tuple[float, ...]
    paired: bool
    """Whether the i-th values of both sides have the same seed, or are of the same device."""
    judged: JudgedMetric
    rule: MetricRule
    trainings: tuple[float, ...]
    """Values of every training of new, for the floor."""
    missed: tuple[int, int] = (0, 0)
    """Seeds of base and of new that never reached the target of a time to accuracy. They are the
    slowest, so the remaining times do not represent their side."""
    least_sd: float = 0.0
    """Least standard deviation of the values, whatever few of them show."""

    @property
    def by_ratio(self) -> bool:
        """Whether new is compared with base by ratio, otherwise by difference."""
        return self.judged.by_ratio

    @property
    def has_ratio(self) -> bool:
        """Whether there are values for a ratio or a difference."""
        if not self.base or not self.new or self.is_censored:
            return False
        return not (self.by_ratio and min(*self.base, *self.new) <= 0)

    @property
    def is_censored(self) -> bool:
        """Whether some seeds missed the target, so that counts are compared instead of times."""
        return any(self.missed)

    @property
    def is_decidable(self) -> bool:
        """Whether so many trainings could show a change with certainty."""
        return self.is_censored or self.shift.is_decidable

    @property
    def p_worse(self) -> float:
        """Chance of such values if new is not worse by more than the threshold."""
        if self.is_censored:
            return p_fewer(*self._reached[1], *self._reached[0])
        return self.shift.p_above(self.limit)

    @property
    def p_better(self) -> float:
        """Chance of such values if new is not better by more than the threshold."""
        if self.is_censored:
            return p_fewer(*self._reached[0], *self._reached[1])
        return self.shift.p_below(-self.limit)

    @property
    def _reached(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """For base and new: trainings that reached the target, and all trainings."""
        base, new = len(self.base), len(self.new)
        return (base, base + self.missed[0]), (new, new + self.missed[1])

    def reached(self, words: Words) -> str:
        """Return how many trainings reached the target, as a clause."""
        (base, of_base), (new, of_new) = self._reached
        return (
            f"{new or 'none'} of {of_new} trainings of {words.new} reached the target accuracy, "
            f"{base or 'none'} of {of_base} of {words.base}"
        )

    @property
    def below_floor(self) -> int:
        """Number of trainings of new on the wrong side of the floor; one is enough for `worse`."""
        if self.rule.floor is None:
            return 0
        sign = 1 if self.judged.better == "higher" else -1
        return sum(sign * value < sign * self.rule.floor for value in self.trainings)

    @property
    def medians(self) -> tuple[float | None, float | None]:
        """Medians of base and new."""
        base, new = (statistics.median(side) if side else None for side in (self.base, self.new))
        return base, new

    @property
    def limit(self) -> float:
        """The threshold on the scale of `shift`."""
        return math.log1p(self.rule.threshold) if self.by_ratio else self.rule.threshold

    @cached_property
    def shift(self) -> Shift:
        """Shift from base to new on the scale on which up is bad."""
        between = Shift.paired if self.paired else Shift.independent
        sides = self._turned(self.base), self._turned(self.new)
        return between(*sides, least_sd=self.least_sd)

    def _turned(self, values: Sequence[float]) -> list[float]:
        sign = 1 if self.judged.better == "lower" else -1
        return [sign * (math.log(value) if self.by_ratio else value) for value in values]

    def shown(self, interval: Interval) -> tuple[float, float | None, float | None]:
        """Return estimate, low and high end of an interval of `shift`, as ratio or difference."""
        values = [interval.estimate, interval.low, interval.high]
        if self.judged.better == "higher":
            values = [-interval.estimate, -interval.high, -interval.low]
        if self.by_ratio:
            values = [math.exp(min(value, LARGEST_EXPONENT)) for value in values]
        estimate, low, high = values
        return (estimate, None, None) if math.isinf(interval.low) else (estimate, low, high)


def take_sample(
    base: CaseRecord,
    new: CaseRecord,
    metric: str,
    judged: JudgedMetric,
    rule: MetricRule,
    *,
    pairs_devices: bool = False,
) -> Sample | None:
    """Return the sample of one metric; None where there is nothing to compare new with.

    That is so where base has no value and the metric neither gates nor has a floor, where neither
    side has a value, where all values of a ratio are 0, and where no training of either side
    reached the target: there may be no target.
    """
    first, second = _seeded(base, metric), _seeded(new, metric)
    trainings = tuple(value for _, value in second)
    missed = (0, 0)
    if judged.may_be_missed and (first or second):
        (first, missed_base), (second, missed_new) = _reached(base, metric), _reached(new, metric)
        missed = missed_base, missed_new
    counts = rule.gate or rule.floor is not None
    if not any(missed) and not first and not (counts and second):
        return None
    if judged.by_ratio and not any(missed) and not any(value for _, value in (*first, *second)):
        return None
    paired = False
    common = dict(first).keys() & dict(second).keys() if pairs_devices else set()
    if len(common) > max(1, len(first) / 2, len(second) / 2):
        first, second = (
            sorted(each for each in side if each[0] in common) for side in (first, second)
        )
        paired = True
    elif judged.seed_decides and not pairs_devices:
        first, second = _one_per_seed(first), _one_per_seed(second)
        paired = len(first) >= 2 and dict(first).keys() == dict(second).keys()
    return Sample(
        case_id=base.id,
        metric=metric,
        base=tuple(value for _, value in first),
        new=tuple(value for _, value in second),
        paired=paired and not any(missed),
        judged=judged,
        rule=rule,
        trainings=trainings,
        missed=missed,
        least_sd=0.0 if judged.by_ratio else least_sd(base, new, metric),
    )


def _reached(case: CaseRecord, metric: str) -> tuple[Seeded, int]:
    """Return the values of seeds that always reached the target, and the number of others."""
    missed = {repeat.seed for repeat in case.repeats if repeat.value(metric) is None}
    return [each for each in _seeded(case, metric) if each[0] not in missed], len(missed)


def _seeded(case: CaseRecord, metric: str) -> Seeded:
    values = ((repeat.seed, repeat.value(metric)) for repeat in case.repeats)
    return [(seed, float(value)) for seed, value in values if value is not None]


def _one_per_seed(values: Seeded) -> Seeded:
    """Return means by seed, in the order of seeds.

    Pooled files often share seeds. A seed that is trained again adds little about what the seed
    itself decides, and counting it twice would overstate the certainty.
    """
    by_seed: dict[int, list[float]] = {}
    for seed, value in values:
        by_seed.setdefault(seed, []).append(value)
    return [(seed, statistics.fmean(by_seed[seed])) for seed in sorted(by_seed)]


def least_sd(base: CaseRecord, new: CaseRecord, metric: str) -> float:
    """Return the least standard deviation of an accuracy or of a difference of two: half an image.

    It also serves for macro F1, which one image changes by about as much. The number of images is
    that of the smallest confusion matrix; without one, a step is the smallest between the values.
    """
    sums = [sum(map(sum, each.confusion or ())) for each in (*base.repeats, *new.repeats)]
    images = min(filter(None, sums), default=0)
    values = sorted([*base.values(metric), *new.values(metric)])
    steps = [above - below for below, above in pairwise(values) if above - below > ROUNDING]
    return HALF_AN_IMAGE * (1 / images if images else min(steps, default=0.0))


def contamination(base: CaseRecord, new: CaseRecord, rules: Rules) -> Contamination:
    """Count the disturbed repeats of each side, and name the disturbances."""
    seen = [[_disturbances(repeat) for repeat in case.repeats] for case in (base, new)]
    return Contamination(
        base=sum(map(bool, seen[0])),
        new=sum(map(bool, seen[1])),
        dropped=rules.drop_flagged,
        kinds=tuple(sorted({kind for side in seen for kinds in side for kind in kinds})),
    )


def kept(case: CaseRecord, rules: Rules) -> CaseRecord:
    """Return the case without disturbed repeats, if the rules drop them."""
    if not rules.drop_flagged:
        return case
    undisturbed = [repeat for repeat in case.repeats if not _disturbances(repeat)]
    return case.model_copy(update={"repeats": undisturbed})


def _disturbances(repeat: Repeat) -> set[str]:
    return {flag.kind for flag in repeat.warnings} & DISTURBANCES
