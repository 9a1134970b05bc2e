"""Intervals, tests, and the number of repeats that would settle a question.

This module does not know metrics or directions. Callers compare times by their logarithms, so that
a slowdown of 10 % and its reversal are equally far from zero, and accuracies as they are.

    shift = Shift.independent(base=[math.log(10.0), math.log(10.1)], new=[math.log(10.6), ...])
    ratio = math.exp(shift.interval().estimate)

docs/verdicts-evidence.md measures what these rules find and miss.
"""

from __future__ import annotations

import bisect
import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri, stdtr, stdtrit

CONFIDENCE = 0.95

MIN_FOR_RANKS = 8
"""Repeats a side from which ranks decide. An outlier moves a mean but hardly a rank. With fewer
repeats there are too few orders: the rarest of 7 against 7 has a chance of 1 in 3,432, which no
correction for more than 85 cases leaves below 2.5 %; of 8 against 8 it is 1 in 12,870."""

MAX_PAIRS_FOR_RANKS = 1_000_000
"""Most differences between values of both sides that are sorted; with more, means decide."""

MAX_PAIRS_FOR_EXACT_RANKS = 2_500
"""Up to 50 repeats a side, the chances of ranks are counted; beyond, they are approximated."""

MAX_REPEATS = 1000
"""The search for the number of repeats that would settle a question ends here."""

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate, and the range of the true value at `confidence`, both ends included.

    An end is infinite where the samples do not bound it.
    """

    estimate: float
    low: float
    high: float
    confidence: float


class Shift(ABC):
    """How far the new values lie above those of the base.

    An interval excludes a shift exactly where one of the two p-values of that shift is below half
    of what the interval's confidence leaves.
    """

    n: int
    """Values of the smaller side, or number of pairs."""
    estimate: float

    @staticmethod
    def independent(base: Sequence[float], new: Sequence[float], *, least_sd: float = 0) -> Shift:
        """Compare two independent samples.

        Welch's t for few values: it needs no equal spreads and works from 2 a side on. Ranks from
        `MIN_FOR_RANKS` on.

        Args:
            base: at least one finite value.
            new: at least one finite value.
            least_sd: least standard deviation of a side, whatever its few values show.

        Raises:
            ValueError: a sample is empty, or has a value that is not finite.
        """
        bases, news = _sample(base), _sample(new)
        n = min(len(bases), len(news))
        is_fixed = _is_fixed(bases) and _is_fixed(news)  # then there is nothing to rank
        if n < MIN_FOR_RANKS or len(bases) * len(news) > MAX_PAIRS_FOR_RANKS or is_fixed:
            base_mean, new_mean = _Mean.of(bases, least_sd), _Mean.of(news, least_sd)
            return _ByMeans(new_mean.value - base_mean.value, (base_mean, new_mean))
        return _ByRanks(bases, news)

    @staticmethod
    def paired(base: Sequence[float], new: Sequence[float], *, least_sd: float = 0) -> Shift:
        """Compare samples whose i-th values belong together, such as accuracies of one seed.

        Student's t on the differences, for any number of pairs: signed ranks of 10 pairs have no
        order rarer than 1 in 1,024, which is too common for 26 cases at once.

        Args:
            base: at least one finite value.
            new: as many values.
            least_sd: least standard deviation of the differences. Differences that are all exactly
                0 have none: that is the same training again.

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
        """Whether there are 2 values a side, or 2 pairs; fewer show no spread."""
        return self.n >= 2

    def interval(self, confidence: float = CONFIDENCE) -> Interval:
        """Return the two-sided interval of the shift.

        Raises:
            ValueError: confidence is not between 0 and 1.
        """
        if not 0 < confidence < 1:
            raise ValueError(f"expected a confidence between 0 and 1, got {confidence}")
        low, high = self._ends((1 - confidence) / 2)
        return Interval(estimate=self.estimate, low=low, high=high, confidence=confidence)

    @abstractmethod
    def p_above(self, shift: float) -> float:
        """Return the chance of such samples if the true shift is at most this one."""

    @abstractmethod
    def p_below(self, shift: float) -> float:
        """Return the chance of such samples if the true shift is at least this one."""

    def repeats_needed(
        self, low: float, high: float, *, confidence: float = CONFIDENCE, power: float = 0.8
    ) -> int | None:
        """Return the repeats a side (or pairs) that would probably settle the question.

        Settled means that the interval contains neither bound. If the present estimate and spread
        are the truth, that happens with a chance of about `power`. A bound may be infinite. A side
        that already has more repeats keeps them.

        Returns:
            A number above the present one; None if `MAX_REPEATS` would not be enough, or if the
            spread is unknown.

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
        """Return the chance that the interval from n repeats contains neither bound.

        Uses the interval's mean width. That the width varies too changes the result by at most one
        repeat.
        """
        error, degrees = self._planned(n)
        if error == 0:
            return float(self.estimate not in (low, high))
        reach = _t_reach(tail, degrees)
        over_low, under_high = (self.estimate - low) / error, (high - self.estimate) / error
        between = max(0.0, ndtr(under_high - reach) - ndtr(reach - over_low))
        beyond = ndtr(-under_high - reach) + ndtr(-over_low - reach)
        return float(between + beyond)

    @abstractmethod
    def _ends(self, tail: float) -> tuple[float, float]:
        """Return the ends of an interval beyond each of which lies this much chance."""

    @abstractmethod
    def _planned(self, n: int) -> tuple[float, float]:
        """Return the estimate's standard error from n repeats a side, and degrees of freedom."""


@dataclass(frozen=True)
class _Mean:
    """The mean of n values, with their variance."""

    value: float
    variance: float
    """Infinite for a single value: nothing bounds the others."""
    n: int

    @classmethod
    def of(cls, values: Sequence[float], least_sd: float = 0) -> _Mean:
        """Compute from differences to the first value, so that equal values have variance 0."""
        n, first = len(values), values[0]
        apart = [value - first for value in values]
        middle = math.fsum(apart) / n
        if n == 1:
            return cls(first, math.inf, n)
        variance = math.fsum((value - middle) ** 2 for value in apart) / (n - 1)
        return cls(first + middle, max(variance, least_sd**2), n)


class _ByMeans(Shift):
    """Welch's t of two means, or Student's t of one mean of differences."""

    def __init__(self, estimate: float, means: tuple[_Mean, ...]) -> None:
        self.n, self.estimate = min(mean.n for mean in means), estimate
        self._means = means
        self._error, self._degrees = self._planned(0)

    def p_above(self, shift: float) -> float:
        return self._tail(self.estimate - shift)

    def p_below(self, shift: float) -> float:
        return self._tail(shift - self.estimate)

    def _tail(self, distance: float) -> float:
        """Return the chance that the estimate lies so far beyond the truth."""
        if self._error in (0, math.inf):
            return 0.0 if self._error == 0 and distance > 0 else 1.0
        return float(stdtr(self._degrees, -distance / self._error))

    def _ends(self, tail: float) -> tuple[float, float]:
        if math.isinf(self._error):
            return -math.inf, math.inf
        reach = _t_reach(tail, self._degrees) * self._error
        return self.estimate - reach, self.estimate + reach

    def _planned(self, n: int) -> tuple[float, float]:
        """Degrees of freedom by Welch and Satterthwaite; 1 where the spread is 0 or unknown."""
        sizes = [max(mean.n, n) for mean in self._means]
        parts = [mean.variance / size for mean, size in zip(self._means, sizes, strict=True)]
        if (total := sum(parts)) in (0, math.inf):
            return total, 1.0
        shares = [part / total for part in parts]
        degrees = 1 / sum(share**2 / (size - 1) for share, size in zip(shares, sizes, strict=True))
        return math.sqrt(total), degrees


class _ByRanks(Shift):
    """The test of Mann and Whitney, with the estimate and interval of Hodges and Lehmann (1963).

    Everything comes from the sorted differences of each new value from each value of the base:
    their median is the estimate, and those near the middle are the interval. Differences equal to
    the shift in question count against rejecting it, so ties never make rejection easier. scipy has
    the test but not these chances or the interval.
    """

    def __init__(self, base: Sequence[float], new: Sequence[float]) -> None:
        self._sizes = len(base), len(new)
        self._differences = np.sort(np.subtract.outer(new, base), axis=None)
        self.n, self.estimate = min(self._sizes), float(np.median(self._differences))

    def p_above(self, shift: float) -> float:
        no_larger = np.searchsorted(self._differences, shift, side="right")
        return float(_rank_chances(*self._sizes)[no_larger])

    def p_below(self, shift: float) -> float:
        smaller = np.searchsorted(self._differences, shift, side="left")
        return float(_rank_chances(*self._sizes)[len(self._differences) - smaller])

    def _ends(self, tail: float) -> tuple[float, float]:
        outside = int(np.searchsorted(_rank_chances(*self._sizes), tail, side="left"))
        if not outside:  # even the rarest order is more common
            return -math.inf, math.inf
        return float(self._differences[outside - 1]), float(self._differences[-outside])

    def _planned(self, n: int) -> tuple[float, float]:
        """Scale the error that explains the present interval as a mean's error would scale."""
        low, high = self._ends(tail := (1 - CONFIDENCE) / 2)
        base, new = self._sizes
        later_base, later_new = max(base, n), max(new, n)
        fewer = (1 / later_base + 1 / later_new) / (1 / base + 1 / new)
        present = (high - low) / 2 / -float(ndtri(tail))
        return present * math.sqrt(fewer), later_base + later_new - 2


@functools.cache
def _rank_chances(base: int, new: int) -> npt.NDArray[np.float64]:
    """Return the chances of at most u pairs with the new value below, if nothing has shifted.

    u runs from 0 to base * new. Counts all orders of two samples of these sizes, place by place: a
    new value with `below` values of the base under it adds that many pairs. Adding does not cancel,
    so small chances stay exact.
    """
    pairs = base * new
    if pairs > MAX_PAIRS_FOR_EXACT_RANKS:  # a normal curve, corrected for continuity
        deviation = math.sqrt(pairs * (base + new + 1) / 12)
        return np.asarray(ndtr((np.arange(pairs + 1) + 0.5 - pairs / 2) / deviation))
    orders = np.zeros((new + 1, pairs + 1))  # by new values placed, and pairs
    orders[0, 0] = 1
    for place in range(base + new):
        for placed in range(min(place, new - 1), max(0, place - base) - 1, -1):
            below = place - placed
            orders[placed + 1, below:] += orders[placed, : pairs + 1 - below]
    return np.minimum(1, np.cumsum(orders[new]) / math.comb(base + new, new))


def _t_reach(tail: float, degrees: float) -> float:
    """Return the t above which this chance lies."""
    return -float(stdtrit(degrees, tail))


def _sample(values: Sequence[float]) -> list[float]:
    sample = [float(value) for value in values]
    if not sample or not all(map(math.isfinite, sample)):
        raise ValueError(f"expected one finite value or more, got {list(values)[:5]}")
    return sample


def _is_fixed(values: Sequence[float]) -> bool:
    return min(values) == max(values)


def holm(p_values: Mapping[Key, float]) -> dict[Key, float]:
    """Return p-values adjusted so that their level holds for all of them together (Holm, 1979).

    Raises:
        ValueError: one is not between 0 and 1.
    """
    if not all(0 <= p <= 1 for p in p_values.values()):
        raise ValueError(f"expected p-values between 0 and 1, got {list(p_values.values())}")
    largest, adjusted = 0.0, dict.fromkeys(p_values, 1.0)
    for rank, key in enumerate(sorted(p_values, key=lambda key: p_values[key])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[key]))
        adjusted[key] = largest
    return adjusted


def p_fewer(hits: int, total: int, other_hits: int, other_total: int) -> float:
    """Return the chance of so few hits if both sides hit equally often (Fisher's exact test)."""
    both = hits + other_hits
    ways = sum(
        math.comb(total, k) * math.comb(other_total, both - k)
        for k in range(max(0, both - other_total), hits + 1)
    )
    return ways / math.comb(total + other_total, both)
