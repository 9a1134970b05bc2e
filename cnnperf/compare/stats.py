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
import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

CONFIDENCE = 0.95

MIN_FOR_RANKS = 8
"""Repeats a side from which ranks decide. They hardly notice an outlier, which a mean follows. With
fewer they have too few orders to tell apart: of 7 against 7 the rarest has a chance of 1 in 3,432,
which no correction for more than 85 cases leaves below 2.5 %; of 8 against 8 it is 1 in 12,870."""

MAX_PAIRS_FOR_RANKS = 1_000_000
"""Differences between values of both sides that are worth sorting; beyond, means decide."""

MAX_PAIRS_FOR_EXACT_RANKS = 2_500
"""Up to 50 repeats a side, the chances of ranks are counted; beyond, a normal curve gives them."""

MAX_REPEATS = 1000
"""More than anybody will run: the search for how many would settle it ends here."""

Values = npt.NDArray[np.float64]
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
    def independent(base: Sequence[float], new: Sequence[float]) -> Shift:
        """Of samples that have nothing to do with one another.

        Welch's t for few values, since it needs no equal spreads and works from 2 a side on; ranks
        from `MIN_FOR_RANKS` on.

        Args:
            base: at least one finite value.
            new: the same.

        Raises:
            ValueError: a sample is empty, or has a value that is not finite.
        """
        bases, news = _sample(base), _sample(new)
        n = min(len(bases), len(news))
        is_fixed = np.ptp(bases) == np.ptp(news) == 0  # then there is nothing to rank
        if n < MIN_FOR_RANKS or len(bases) * len(news) > MAX_PAIRS_FOR_RANKS or is_fixed:
            base_mean, new_mean = _Mean.of(bases), _Mean.of(news)
            return _ByMeans(new_mean.value - base_mean.value, (base_mean, new_mean))
        return _ByRanks(bases, news)

    @staticmethod
    def paired(base: Sequence[float], new: Sequence[float]) -> Shift:
        """Of samples whose i-th values belong together, as accuracies of one seed do.

        Student's t on the differences, for any number of them: signed ranks have so few orders that
        with 10 pairs none is rarer than 1 in 1,024, too common for 26 cases at once.

        Raises:
            ValueError: as in `independent`, or the lengths differ.
        """
        bases, news = _sample(base), _sample(new)
        if len(bases) != len(news):
            raise ValueError(f"pairs need equal lengths, got {len(bases)} and {len(news)}")
        differences = _Mean.of(news - bases)
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
        from scipy.special import ndtr, stdtrit

        error, degrees = self._planned(n)
        if error == 0:
            return float(self.estimate not in (low, high))
        reach = stdtrit(degrees, 1 - tail)
        over_low, under_high = (self.estimate - low) / error, (high - self.estimate) / error
        between = max(0, ndtr(under_high - reach) - ndtr(reach - over_low))
        beyond = ndtr(-under_high - reach) + ndtr(-over_low - reach)
        return float(between + beyond)

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
    def of(cls, values: Values) -> _Mean:
        """Of what they differ by, so that rounding leaves no variance among equal values."""
        apart = values - values[0]
        variance = float(np.var(apart, ddof=1)) if len(values) > 1 else math.inf
        return cls(float(values[0] + np.mean(apart)), variance, len(values))


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
        from scipy.special import stdtr

        if self._error in (0, math.inf):
            return 0.0 if self._error == 0 and distance > 0 else 1.0
        return float(stdtr(self._degrees, -distance / self._error))

    def _ends(self, tail: float) -> tuple[float, float]:
        from scipy.special import stdtrit

        reach = float(stdtrit(self._degrees, 1 - tail)) * self._error
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


class _ByRanks(Shift):
    """Mann and Whitney's test, and what Hodges and Lehmann (1963) made of it.

    All rests on the differences of every new value from every value of the base, sorted: their
    median is the estimate, and those not far from the middle are the interval. Differences equal to
    the shift in question count against refusing it, so that ties make it no easier.
    """

    def __init__(self, base: Values, new: Values) -> None:
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
        if not outside:  # not even the rarest order is as rare
            return -math.inf, math.inf
        return float(self._differences[outside - 1]), float(self._differences[-outside])

    def _planned(self, n: int) -> tuple[float, float]:
        """The error that explains the present interval, made smaller as a mean's would be."""
        from scipy.special import ndtri

        low, high = self._ends(tail := (1 - CONFIDENCE) / 2)
        base, new = self._sizes
        later_base, later_new = max(base, n), max(new, n)
        fewer = (1 / later_base + 1 / later_new) / (1 / base + 1 / new)
        present = (high - low) / 2 / float(ndtri(1 - tail))
        return present * math.sqrt(fewer), later_base + later_new - 2


def _sample(values: Sequence[float]) -> Values:
    sample = np.asarray(values, dtype=np.float64)
    if not len(sample) or not np.isfinite(sample).all():
        raise ValueError(f"expected one finite value or more, got {list(values)[:5]}")
    return sample


@functools.cache
def _rank_chances(base: int, new: int) -> Values:
    """Of at most u pairs, u = 0 to base * new, with the new value below, if nothing has shifted.

    Counted over all orders in which two samples of these sizes can stand, one place after the
    other: a new value that has `below` values of the base under it adds so many pairs. Only sums,
    so nothing cancels. scipy has the test but neither these chances nor the interval.
    """
    pairs = base * new
    if pairs > MAX_PAIRS_FOR_EXACT_RANKS:
        return _normal_rank_chances(base, new)
    orders = np.zeros((new + 1, pairs + 1))  # by new values placed, and pairs
    orders[0, 0] = 1
    for place in range(base + new):
        for placed in range(min(place, new - 1), max(0, place - base) - 1, -1):
            below = place - placed
            orders[placed + 1, below:] += orders[placed, : pairs + 1 - below]
    return np.minimum(1, np.cumsum(orders[new]) / math.comb(base + new, new))


def _normal_rank_chances(base: int, new: int) -> Values:
    """The same for many, corrected for continuity."""
    from scipy.special import ndtr

    pairs = base * new
    deviation = math.sqrt(pairs * (base + new + 1) / 12)
    return np.asarray(ndtr((np.arange(pairs + 1) + 0.5 - pairs / 2) / deviation))


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
