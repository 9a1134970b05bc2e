"""Intervals, tests and how many repeats would be enough: the arithmetic behind a verdict.

Torch-free. Nothing here knows what a metric is or which way is better: a caller compares times by
the logarithms of them, where a slowdown of 10 % and its undoing are equally far from nothing, and
accuracies as they are.

    shift = Shift.independent(base=[math.log(10.0), math.log(10.1)], new=[math.log(10.6), ...])
    ratio = math.exp(shift.interval().estimate)

What these rules find and what they miss is measured in docs/verdicts.md.
"""

from __future__ import annotations

import bisect
import math
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from cnnperf.compare.student import normal_tail, t_reach, t_tail

CONFIDENCE = 0.95

MIN_FOR_RANKS = 8
"""Repeats a side from which ranks decide. They hardly notice an outlier, which a mean follows. With
fewer they have too few orders to tell apart: of 7 against 7 the rarest has a chance of 1 in 3,432,
which no correction for more than 85 cases leaves below 2.5 %; of 8 against 8 it is 1 in 12,870."""

MAX_PAIRS_FOR_RANKS = 1_000_000
"""Differences between values of both sides that are worth sorting; beyond, means decide."""

MAX_REPEATS = 1000
"""More than anybody will run: the search for how many would settle it ends here."""

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate and what the truth may be at `confidence`, both ends included.

    An end is infinite where the samples do not bound it.
    """

    estimate: float
    low: float
    high: float
    confidence: float


class Shift(ABC):
    """How far the new values lie above those of the base.

    An interval leaves out a shift exactly where one of the two p-values of that shift is below half
    of what the interval's confidence leaves.
    """

    n: int
    """Values of the smaller side, or pairs."""
    estimate: float

    @staticmethod
    def independent(base: Sequence[float], new: Sequence[float], *, least_sd: float = 0) -> Shift:
        """Of samples that have nothing to do with one another.

        Welch's t for few values, since it needs no equal spreads and works from 2 a side on; ranks
        from `MIN_FOR_RANKS` on.

        Args:
            base: at least one finite value.
            new: the same.
            least_sd: standard deviation that a side has at least, whatever its few values show.

        Raises:
            ValueError: a sample is empty, or has a value that is not finite.
        """
        bases, news = _sample(base), _sample(new)
        n = min(len(bases), len(news))
        is_fixed = _is_fixed(bases) and _is_fixed(news)  # then there is nothing to rank
        if n < MIN_FOR_RANKS or len(bases) * len(news) > MAX_PAIRS_FOR_RANKS or is_fixed:
            base_mean, new_mean = _Mean.of(bases, least_sd), _Mean.of(news, least_sd)
            return _ByMeans(new_mean.value - base_mean.value, (base_mean, new_mean))
        from cnnperf.compare.ranks import ByRanks  # which takes NumPy

        return ByRanks(bases, news)

    @staticmethod
    def paired(base: Sequence[float], new: Sequence[float], *, least_sd: float = 0) -> Shift:
        """Of samples whose i-th values belong together, as accuracies of one seed do.

        Student's t on the differences, for any number of them: signed ranks have so few orders that
        with 10 pairs none is rarer than 1 in 1,024, too common for 26 cases at once.

        Args:
            base: at least one finite value.
            new: as many.
            least_sd: standard deviation that the differences have at least. Differences that are
                all exactly 0 have none: that is the same training done again.

        Raises:
            ValueError: as in `independent`, or the lengths differ.
        """
        bases, news = _sample(base), _sample(new)
        if len(bases) != len(news):
            raise ValueError(f"pairs need equal lengths, got {len(bases)} and {len(news)}")
        apart = [new - base for base, new in zip(bases, news, strict=True)]
        differences = _Mean.of(apart, least_sd if any(apart) else 0)
        return _ByMeans(differences.value, (differences,))

    @property
    def is_decidable(self) -> bool:
        """Whether there are 2 values a side, or 2 pairs: less says nothing of their spread."""
        return self.n >= 2

    def interval(self, confidence: float = CONFIDENCE) -> Interval:
        """Two-sided, of the shift.

        Raises:
            ValueError: confidence is not between 0 and 1.
        """
        if not 0 < confidence < 1:
            raise ValueError(f"a confidence lies between 0 and 1, got {confidence}")
        low, high = self._ends((1 - confidence) / 2)
        return Interval(estimate=self.estimate, low=low, high=high, confidence=confidence)

    @abstractmethod
    def p_above(self, shift: float) -> float:
        """How likely such samples are if the true shift is no larger than this one."""

    @abstractmethod
    def p_below(self, shift: float) -> float:
        """How likely such samples are if the true shift is no smaller than this one."""

    def repeats_needed(
        self, low: float, high: float, *, confidence: float = CONFIDENCE, power: float = 0.8
    ) -> int | None:
        """Repeats a side (or pairs) that would probably settle on which side of both bounds it is.

        With so many, if the truth is the present estimate and the spread the present one, the
        interval contains neither bound with a probability of about `power`. A bound may be
        infinite. A side that has more repeats already keeps them.

        Returns:
            More than there are now; None where `MAX_REPEATS` would not do, or nothing is known of
            the spread.

        Raises:
            ValueError: low is above high.
        """
        if not low <= high:
            raise ValueError(f"expected low <= high, got {low} and {high}")
        if not self.is_decidable:
            return None
        candidates = range(self.n + 1, MAX_REPEATS + 1)
        tail = (1 - confidence) / 2
        index = bisect.bisect_left(
            candidates, power, key=lambda n: self._chance_to_settle(n, low, high, tail)
        )
        return candidates[index] if index < len(candidates) else None

    def _chance_to_settle(self, n: int, low: float, high: float, tail: float) -> float:
        """That the interval from n repeats a side lies above both bounds, below both or between.

        As wide as it is on average: that its width varies, too, is worth one repeat at most.
        """
        error, degrees = self._planned(n)
        if error == 0:
            return float(self.estimate not in (low, high))
        reach = t_reach(tail, degrees)
        over_low, under_high = (self.estimate - low) / error, (high - self.estimate) / error
        between = max(0, normal_tail(reach - under_high) - normal_tail(over_low - reach))
        beyond = normal_tail(under_high + reach) + normal_tail(over_low + reach)
        return between + beyond

    @abstractmethod
    def _ends(self, tail: float) -> tuple[float, float]:
        """Of an interval beyond each of which lies this much chance."""

    @abstractmethod
    def _planned(self, n: int) -> tuple[float, float]:
        """Standard error of the estimate from n repeats a side, and its degrees of freedom."""


@dataclass(frozen=True)
class _Mean:
    """Of n values, with their variance."""

    value: float
    variance: float
    """Infinite of a single value: nothing bounds what others would be."""
    n: int

    @classmethod
    def of(cls, values: Sequence[float], least_sd: float = 0) -> _Mean:
        """Of what they differ by, so that rounding leaves no variance among equal values."""
        n, first = len(values), values[0]
        apart = [value - first for value in values]
        middle = math.fsum(apart) / n
        if n == 1:
            return cls(first, math.inf, n)
        variance = math.fsum((value - middle) ** 2 for value in apart) / (n - 1)
        return cls(first + middle, max(variance, least_sd**2), n)


class _ByMeans(Shift):
    """Welch's t of two means, or Student's of one mean of differences: the same arithmetic."""

    def __init__(self, estimate: float, means: tuple[_Mean, ...]) -> None:
        self.n, self.estimate = min(mean.n for mean in means), estimate
        self._means = means
        self._error, self._degrees = self._planned(0)

    def p_above(self, shift: float) -> float:
        return self._tail(self.estimate - shift)

    def p_below(self, shift: float) -> float:
        return self._tail(shift - self.estimate)

    def _tail(self, distance: float) -> float:
        """Chance that the estimate lies so far beyond the truth."""
        if self._error in (0, math.inf):
            return 0.0 if self._error == 0 and distance > 0 else 1.0
        return t_tail(distance / self._error, self._degrees)

    def _ends(self, tail: float) -> tuple[float, float]:
        if math.isinf(self._error):
            return -math.inf, math.inf
        reach = t_reach(tail, self._degrees) * self._error
        return self.estimate - reach, self.estimate + reach

    def _planned(self, n: int) -> tuple[float, float]:
        """Welch's and Satterthwaite's degrees of freedom; where no spread is known any do."""
        sizes = [max(mean.n, n) for mean in self._means]
        parts = [mean.variance / size for mean, size in zip(self._means, sizes, strict=True)]
        if (total := sum(parts)) in (0, math.inf):
            return total, 1.0
        shares = [part / total for part in parts]
        degrees = 1 / sum(share**2 / (size - 1) for share, size in zip(shares, sizes, strict=True))
        return math.sqrt(total), degrees


def _sample(values: Sequence[float]) -> list[float]:
    sample = [float(value) for value in values]
    if not sample or not all(map(math.isfinite, sample)):
        raise ValueError(f"expected one finite value or more, got {list(values)[:5]}")
    return sample


def _is_fixed(values: Sequence[float]) -> bool:
    return min(values) == max(values)


def holm(p_values: Mapping[Key, float]) -> dict[Key, float]:
    """p-values that hold their level for all of them together (Holm, 1979), in the same order.

    Raises:
        ValueError: one is not between 0 and 1.
    """
    if not all(0 <= p <= 1 for p in p_values.values()):
        raise ValueError(f"p-values lie between 0 and 1, got {list(p_values.values())}")
    largest, adjusted = 0.0, dict.fromkeys(p_values, 1.0)
    for rank, key in enumerate(sorted(p_values, key=lambda key: p_values[key])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[key]))
        adjusted[key] = largest
    return adjusted


def p_fewer(hits: int, total: int, other_hits: int, other_total: int) -> float:
    """How likely so few hits are, if both sides are equally likely to hit (Fisher's exact test).

    Given how many there are in all, counted from the fewest that this side can have.
    """
    both, everyone = hits + other_hits, total + other_total
    fewest, all_ways = max(0, both - other_total), _log_choose(everyone, both)
    chances = (
        math.exp(_log_choose(total, k) + _log_choose(other_total, both - k) - all_ways)
        for k in range(fewest, hits + 1)
    )
    return min(1.0, math.fsum(chances))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
