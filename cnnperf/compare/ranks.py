"""Two samples by their ranks: what Mann and Whitney's test says, and its interval.

Torch-free; apart from `stats`, since it takes NumPy, whose import would double the start of every
comparison of few repeats.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cnnperf.compare.stats import CONFIDENCE, Shift
from cnnperf.compare.student import normal_quantile

MAX_PAIRS_FOR_EXACT_RANKS = 2_500
"""Up to 50 repeats a side, the chances of ranks are counted; beyond, a normal curve gives them."""

Values = npt.NDArray[np.float64]


class ByRanks(Shift):
    """Mann and Whitney's test, and what Hodges and Lehmann (1963) made of it.

    All rests on the differences of every new value from every value of the base, sorted: their
    median is the estimate, and those not far from the middle are the interval. Differences equal to
    the shift in question count against refusing it, so that ties make it no easier.
    """

    def __init__(self, base: Sequence[float], new: Sequence[float]) -> None:
        self._sizes = len(base), len(new)
        self._differences = np.sort(np.subtract.outer(new, base), axis=None)
        self.n, self.estimate = min(self._sizes), float(np.median(self._differences))

    def p_above(self, shift: float) -> float:
        """As the test has it of new values that lie above."""
        no_larger = np.searchsorted(self._differences, shift, side="right")
        return float(_rank_chances(*self._sizes)[no_larger])

    def p_below(self, shift: float) -> float:
        """The same of those that lie below."""
        smaller = np.searchsorted(self._differences, shift, side="left")
        return float(_rank_chances(*self._sizes)[len(self._differences) - smaller])

    def _ends(self, tail: float) -> tuple[float, float]:
        outside = int(np.searchsorted(_rank_chances(*self._sizes), tail, side="left"))
        if not outside:  # not even the rarest order is as rare
            return -math.inf, math.inf
        return float(self._differences[outside - 1]), float(self._differences[-outside])

    def _planned(self, n: int) -> tuple[float, float]:
        """The error that explains the present interval, made smaller as a mean's would be."""
        low, high = self._ends(tail := (1 - CONFIDENCE) / 2)
        base, new = self._sizes
        later_base, later_new = max(base, n), max(new, n)
        fewer = (1 / later_base + 1 / later_new) / (1 / base + 1 / new)
        present = (high - low) / 2 / -normal_quantile(tail)
        return present * math.sqrt(fewer), later_base + later_new - 2


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
