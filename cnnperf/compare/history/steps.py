"""Find where a series changes its level: ruptures proposes places, an interval confirms each.

The values are on the scale on which a metric is compared: logarithms if it is compared by ratio.

    found = find_steps([math.log(seconds) for seconds in medians], limit=math.log1p(0.03))
    [step.index for step in found.steps]                                                # [25]

Three rules keep noise from being reported as a step:

- A change must lower the sum of squares by more than a penalty, which grows with the length of the
  series and with its noise, because the search takes the best of many places.
- The interval of the shift must lie wholly beyond the metric's threshold.
- One or two values far from their neighbours are outliers, not a level.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from cnnperf.compare.stats import CONFIDENCE, Interval, Shift

MIN_LEVEL = 3
"""Values of a level. Two bad runs in a row are common on a shared machine."""

MIN_RECORDS = 2 * MIN_LEVEL
"""A step needs a level before it and one after it."""

PENALTY = 4.0
"""Penalty of each step, in units of noise variance times the logarithm of the series' length. BIC
has 3 for a place and a mean; docs/history.md shows how little power a higher one costs."""

OUTLIER = 5.0
"""Standard deviations from the median of the neighbours: 1 in 1.7 million values of a normal
distribution lies as far out."""

NEIGHBOURS = 2
"""Neighbours on each side; two outliers in a row are a minority of five values."""

LEAST_NOISE = 0.05
"""Least noise, as a fraction of the limit: equal values have none."""

MAX_EXACT = 2_000
"""Most values searched one by one, in quadratic time; longer series are searched in bins."""

PLAUSIBLE = 3.84
"""A place is as plausible as the best if the sum of squares grows by less, in noise variances: the
95 % point of chi-squared with one degree of freedom."""

MIN_FOR_INERTIA = 50
"""Fewest values that show how much of a deviation carries over to the next value."""

MAX_CARRY = 0.8
"""Largest carry-over that is assumed; more would be a random walk, which has no levels."""

Values = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]


@dataclass(frozen=True, kw_only=True)
class Level:
    """Consecutive values, `start` included and `stop` not, between which no step was found."""

    start: int
    stop: int
    value: float
    """Median, without outliers."""


@dataclass(frozen=True, kw_only=True)
class LevelShift:
    """A step from one level to the next."""

    index: int
    """Position of the new level's first value."""
    earliest: int
    """First of the positions that are as plausible as `index`."""
    latest: int
    shift: Interval
    """New level minus old level."""


@dataclass(frozen=True, kw_only=True)
class Steps:
    """Levels of a series, and the steps between them."""

    levels: tuple[Level, ...]
    steps: tuple[LevelShift, ...]
    outliers: frozenset[int]


def find_steps(values: Sequence[float], limit: float) -> Steps:
    """Find the levels of a series.

    Args:
        values: at least one, all finite, in the order of time.
        limit: the smallest shift that counts, on the scale of the values.

    Raises:
        ValueError: there is no value, or the limit is not above 0.
    """
    if not len(values) or not limit > 0:
        raise ValueError(f"expected values and a limit above 0, got {len(values)} and {limit}")
    series = np.asarray(values, dtype=np.float64)
    if len(series) < MIN_RECORDS:
        level = Level(start=0, stop=len(series), value=float(np.median(series)))
        return Steps(levels=(level,), steps=(), outliers=frozenset())
    noise = max(_noise(series), LEAST_NOISE * limit)
    kept = np.setdiff1d(np.arange(len(series)), _outliers(series, noise))
    clean = series[kept]
    inertia = _inertia(clean)
    bounds = _confirmed(clean, _candidates(clean, noise * inertia), limit, inertia)
    return _found(series, kept, bounds, noise, inertia)


def _noise(series: Values, lag: int = 1) -> float:
    """Estimate the standard deviation by the median difference of neighbours.

    Steps and outliers hardly change it.
    """
    apart = np.abs(series[lag:] - series[:-lag])
    return float(np.median(apart)) / (0.6745 * math.sqrt(2))


def _inertia(series: Values) -> float:
    """Return how many times less certain a mean is than that of independent values.

    A machine that is slow today is often slow tomorrow, so that neighbours are closer than values
    three apart. If a share r of a deviation carries over to the next value, the variance of
    neighbours' differences has a factor of 1 - r, and that of a mean (1 + r) / (1 - r).
    """
    if len(series) < MIN_FOR_INERTIA or not (apart := _noise(series, 3)):
        return 1.0
    near = (_noise(series) / apart) ** 2
    # near = (1 - r) / (1 - r^3) = 1 / (1 + r + r^2)
    carry = (math.sqrt(max(4 / near - 3, 0)) - 1) / 2 if near else MAX_CARRY
    carry = min(max(carry, 0.0), MAX_CARRY)
    return math.sqrt((1 + carry) / (1 - carry))


def _outliers(series: Values, noise: float) -> Places:
    """Return places of values far from the median of the five around them, or nearest to them."""
    size = 2 * NEIGHBOURS + 1
    medians = np.median(np.lib.stride_tricks.sliding_window_view(series, size), axis=1)
    inside = np.clip(np.arange(len(series)) - NEIGHBOURS, 0, len(medians) - 1)
    return np.flatnonzero(np.abs(series - medians[inside]) > OUTLIER * noise)


def _candidates(series: Values, noise: float) -> list[int]:
    """Return places at which new levels may begin."""
    import ruptures  # type: ignore[import-untyped]

    size = -(-len(series) // MAX_EXACT)
    binned = _binned(series, size)
    if len(binned) < 2 * MIN_LEVEL:
        return []
    penalty = PENALTY * noise**2 / size * np.log(len(series))
    search = ruptures.KernelCPD(kernel="linear", min_size=MIN_LEVEL)
    # The cost of the linear kernel is the sum of squares around a level's mean.
    ends = search.fit(binned[:, None]).predict(pen=penalty)
    coarse = [end * size for end in ends[:-1]]
    return _refined(series, coarse, size) if size > 1 else coarse


def _binned(series: Values, size: int) -> Values:
    """Return means of `size` neighbours each; the last bin also takes the rest."""
    count = len(series) // size
    head = series[: (count - 1) * size].reshape(-1, size).mean(axis=1)
    return np.append(head, series[(count - 1) * size :].mean())


def _around(bounds: list[int], end: int) -> list[tuple[int, int, int]]:
    """Return each bound between the one before and the one after it."""
    ends = [0, *bounds, end]
    return list(zip(ends, bounds, ends[2:], strict=False))


def _refined(series: Values, bounds: list[int], size: int) -> list[int]:
    """Move each bound to the best place within a bin on either side of it."""
    found = []
    for before, bound, after in _around(bounds, len(series)):
        near = range(max(before + 1, bound - size), min(after - 1, bound + size) + 1)
        costs = _costs(series[before:after])
        found.append(min(near, key=lambda place: costs[place - before]))
    return found


def _costs(series: Values) -> Values:
    """Return the sum of squares around two means for each start of the second; infinite at 0."""
    n = len(series)
    centred = series - series.mean()
    left = np.cumsum(centred)[:-1]
    sizes = np.arange(1, n)
    # The two parts of a centred series have opposite sums.
    gain = left**2 * (1 / sizes + 1 / (n - sizes))
    return np.append(np.inf, float(centred @ centred) - gain)


def _confirmed(series: Values, bounds: list[int], limit: float, inertia: float) -> list[int]:
    """Keep the bounds whose shift is certainly larger than the limit, in either direction.

    The least certain bound goes first: it may hide its neighbour.
    """
    bounds = list(bounds)
    while bounds:
        shifts = _shifts(series, bounds, inertia)
        margins = [max(shift.low - limit, -limit - shift.high) for shift in shifts]
        weakest = int(np.argmin(margins))
        if margins[weakest] > 0:
            break
        del bounds[weakest]
    return bounds


def _shifts(series: Values, bounds: list[int], inertia: float) -> list[Interval]:
    """Estimate how far each level lies above the one before."""
    return [
        _shift(series[before:bound].tolist(), series[bound:after].tolist(), inertia)
        for before, bound, after in _around(bounds, len(series))
    ]


def _shift(before: list[float], after: list[float], inertia: float) -> Interval:
    found = Shift.independent(before, after).interval(CONFIDENCE)
    return Interval(
        estimate=found.estimate,
        low=found.estimate - inertia * (found.estimate - found.low),
        high=found.estimate + inertia * (found.high - found.estimate),
        confidence=found.confidence,
    )


def _found(series: Values, kept: Places, bounds: list[int], noise: float, inertia: float) -> Steps:
    """Translate bounds among the kept values into positions in the series."""
    clean = series[kept]
    starts = [0, *(int(kept[bound]) for bound in bounds), len(series)]
    levels = tuple(
        Level(start=start, stop=stop, value=float(np.median(clean[first:last])))
        for (start, stop), (first, last) in zip(
            pairwise(starts), pairwise([0, *bounds, len(clean)]), strict=True
        )
    )
    around = _around(bounds, len(clean))
    steps = []
    for (before, bound, after), shift in zip(around, _shifts(clean, bounds, inertia), strict=True):
        costs = _costs(clean[before:after])
        near = np.flatnonzero(costs <= costs[bound - before] + PLAUSIBLE * noise**2) + before
        steps.append(
            LevelShift(
                index=int(kept[bound]),
                earliest=int(kept[near.min()]),
                latest=int(kept[near.max()]),
                shift=shift,
            )
        )
    outliers = frozenset(np.setdiff1d(np.arange(len(series)), kept).tolist())
    return Steps(levels=levels, steps=tuple(steps), outliers=outliers)
