"""Where a series changes its level for good: candidates by ruptures, each confirmed by an interval.

Torch-free. Nothing here knows what a metric is: the values are on the scale on which they are
compared, logarithms of what has a ratio.

    found = find_steps([math.log(seconds) for seconds in medians], limit=math.log1p(0.03))
    [step.index for step in found.steps]                                                # [25]

Three things keep noise from being a step. A change must lower the sum of squares by more than a
penalty that grows with the series and with its own noise, since the best of many places is taken.
It must be confirmed: the interval of the shift lies wholly beyond the metric's threshold. And a
value or two far from their neighbours are outliers, not a level.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cnnperf.compare.stats import CONFIDENCE, Interval, Shift

MIN_RECORDS = 6
"""A series of fewer says nothing of a level before and a level after: each needs `MIN_LEVEL`."""

MIN_LEVEL = 3
"""Values that make a level. Two bad runs in a row are common on a shared machine."""

PENALTY = 4.0
"""Of one more step, in units of noise variance times the logarithm of the series' length. BIC
has 3 for a place and a mean; what a higher one costs in power is little, see docs/history.md."""

OUTLIER = 5.0
"""Standard deviations from the median of the neighbours. Of a normal curve's values 1 in 1.7
million lies as far out."""

NEIGHBOURS = 2
"""A side, whose median a value is held to: two outliers in a row are not the majority of five."""

LEAST_NOISE = 0.05
"""Of the limit: values that are all the same have no noise, but no step is as small as that."""

MAX_EXACT = 2_000
"""Values that are searched one by one, since the search takes their square; more go in bins."""

PLAUSIBLE = 3.84
"""What the sum of squares may lose, in noise variances, for a place to be as plausible as the best:
the 95 % point of chi-squared with one degree of freedom."""

MIN_FOR_INERTIA = 50
"""Values from which it can be told how much of one lives on in the next."""

MAX_SHARE = 0.8
"""Of a deviation that lives on; more looks like a walk, of which nothing could be said."""

Values = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]


@dataclass(frozen=True, kw_only=True)
class Level:
    """Values from `start` on, up to but not with `stop`, that do not differ for certain."""

    start: int
    stop: int
    value: float
    """Median of those that are no outliers."""


@dataclass(frozen=True, kw_only=True)
class LevelShift:
    """A step from one level to the next."""

    index: int
    """Of the first value of the new level."""
    earliest: int
    """From here to `latest` it may as well have been, as far as the values tell."""
    latest: int
    shift: Interval
    """How far the new level lies above the old one."""


@dataclass(frozen=True, kw_only=True)
class Steps:
    """What was found in a series."""

    levels: tuple[Level, ...]
    """Of at least one value each, one after the other."""
    steps: tuple[LevelShift, ...]
    """Between them."""
    outliers: frozenset[int]
    noise: float | None
    """Standard deviation of one value around its level; None of a series that is too short."""


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
        return Steps(levels=(level,), steps=(), outliers=frozenset(), noise=None)
    noise = max(_noise(series), LEAST_NOISE * limit)
    kept = np.setdiff1d(np.arange(len(series)), _outliers(series, noise))
    clean = series[kept]
    inertia = _inertia(clean)
    bounds = _confirmed(clean, _candidates(clean, noise * inertia), limit, inertia)
    return _described(series, kept, bounds, noise, inertia)


def _noise(series: Values, lag: int = 1) -> float:
    """By the median of how far neighbours differ, which steps and outliers hardly move."""
    apart = np.abs(series[lag:] - series[:-lag])
    return float(np.median(apart)) / (0.6745 * math.sqrt(2))


def _inertia(series: Values) -> float:
    """By which factor a mean is less certain than of values that know nothing of their neighbours.

    A machine that is slow today is often slow tomorrow: neighbours are then closer than those three
    apart. Of noise in which a share r of the deviation lives on to the next value, differences of
    neighbours have a variance of 1 - r, and a mean (1 + r) / (1 - r) times the usual one.
    """
    if len(series) < MIN_FOR_INERTIA or not (apart := _noise(series, 3)):
        return 1.0
    near = (_noise(series) / apart) ** 2
    # near = (1 - r) / (1 - r^3) = 1 / (1 + r + r^2)
    share = (math.sqrt(max(4 / near - 3, 0)) - 1) / 2 if near else MAX_SHARE
    share = min(max(share, 0.0), MAX_SHARE)
    return math.sqrt((1 + share) / (1 - share))


def _outliers(series: Values, noise: float) -> Places:
    """Places of values far from the median of five around them; at the ends, of the last five."""
    size = 2 * NEIGHBOURS + 1
    medians = np.median(np.lib.stride_tricks.sliding_window_view(series, size), axis=1)
    inside = np.clip(np.arange(len(series)) - NEIGHBOURS, 0, len(medians) - 1)
    return np.flatnonzero(np.abs(series - medians[inside]) > OUTLIER * noise)


def _candidates(series: Values, noise: float) -> list[int]:
    """Where new levels may begin."""
    import ruptures  # type: ignore[import-untyped]

    size = -(-len(series) // MAX_EXACT)
    binned = _in_bins(series, size)
    if len(binned) < 2 * MIN_LEVEL:
        return []
    penalty = PENALTY * noise**2 / size * np.log(len(series))
    search = ruptures.KernelCPD(kernel="linear", min_size=MIN_LEVEL)
    # The kernel's cost is the sum of squares around a level's mean.
    ends = search.fit(binned[:, None]).predict(pen=penalty)
    coarse = [end * size for end in ends[:-1]]
    return _refined(series, coarse, size) if size > 1 else coarse


def _in_bins(series: Values, size: int) -> Values:
    """Means of so many neighbours each; what is left at the end joins the last."""
    count = len(series) // size
    head = series[: (count - 1) * size].reshape(-1, size).mean(axis=1)
    return np.append(head, series[(count - 1) * size :].mean())


def _refined(series: Values, bounds: list[int], size: int) -> list[int]:
    """The best place within a bin to both sides of where the bins say."""
    ends = [0, *bounds, len(series)]
    found = []
    for before, bound, after in zip(ends, bounds, ends[2:], strict=False):
        near = range(max(before + 1, bound - size), min(after - 1, bound + size) + 1)
        costs = _costs(series[before:after])
        found.append(min(near, key=lambda place: costs[place - before]))
    return found


def _costs(series: Values) -> Values:
    """Sum of squares around two means, by where the second begins; infinite at the first place."""
    n = len(series)
    centred = series - series.mean()
    left = np.cumsum(centred)[:-1]
    sizes = np.arange(1, n)
    # Both parts sum to 0, so that one of them says all.
    gain = left**2 * (1 / sizes + 1 / (n - sizes))
    return np.append(np.inf, float(centred @ centred) - gain)


def _confirmed(series: Values, bounds: list[int], limit: float, inertia: float) -> list[int]:
    """The bounds at which the levels to both sides differ for certain by more than the limit.

    The least certain one is given up first: it may be what hides its neighbour.
    """
    bounds = list(bounds)
    while bounds:
        margins = [_margin(each, limit) for each in _shifts(series, bounds, inertia)]
        weakest = int(np.argmin(margins))
        if margins[weakest] > 0:
            break
        del bounds[weakest]
    return bounds


def _shifts(series: Values, bounds: list[int], inertia: float) -> list[Interval]:
    """How far each level lies above the one before."""
    ends = [0, *bounds, len(series)]
    return [
        _shift(series[before:bound].tolist(), series[bound:after].tolist(), inertia)
        for before, bound, after in zip(ends, bounds, ends[2:], strict=False)
    ]


def _shift(before: list[float], after: list[float], inertia: float) -> Interval:
    found = Shift.independent(before, after).interval(CONFIDENCE)
    return Interval(
        estimate=found.estimate,
        low=found.estimate - inertia * (found.estimate - found.low),
        high=found.estimate + inertia * (found.high - found.estimate),
        confidence=found.confidence,
    )


def _margin(interval: Interval, limit: float) -> float:
    """How far the interval lies beyond the limit, on whichever side; below 0 where it does not."""
    return max(interval.low - limit, -limit - interval.high)


def _described(
    series: Values, kept: Places, bounds: list[int], noise: float, inertia: float
) -> Steps:
    """Levels and steps by the places of the whole series, outliers counted in."""
    clean = series[kept]
    ends = [0, *bounds, len(clean)]
    starts = [0, *(int(kept[bound]) for bound in bounds), len(series)]
    levels = tuple(
        Level(start=start, stop=stop, value=float(np.median(clean[first:last])))
        for start, stop, first, last in zip(starts, starts[1:], ends, ends[1:], strict=False)
    )
    steps = tuple(
        _step(clean, kept, ends[place : place + 3], shift, noise)
        for place, shift in enumerate(_shifts(clean, bounds, inertia))
    )
    outliers = frozenset(np.setdiff1d(np.arange(len(series)), kept).tolist())
    return Steps(levels=levels, steps=steps, outliers=outliers, noise=noise)


def _step(
    clean: Values, kept: Places, ends: list[int], shift: Interval, noise: float
) -> LevelShift:
    before, bound, after = ends
    costs = _costs(clean[before:after])
    near = np.flatnonzero(costs <= costs[bound - before] + PLAUSIBLE * noise**2) + before
    return LevelShift(
        index=int(kept[bound]),
        earliest=int(kept[near.min()]),
        latest=int(kept[near.max()]),
        shift=shift,
    )
