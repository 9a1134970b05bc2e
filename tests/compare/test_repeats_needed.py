"""How many repeats would settle what is inconclusive, against simulation and theory."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from scipy import stats as scipy_stats

from cnnperf.compare.stats import MAX_REPEATS, Shift

Between = Callable[[Sequence[float], Sequence[float]], Shift]


def centred(n: int, mean: float, deviation: float) -> list[float]:
    """Values with exactly this mean and standard deviation."""
    raw = np.random.default_rng(n).normal(size=n)
    return list(mean + deviation * (raw - raw.mean()) / raw.std(ddof=1))


@pytest.mark.parametrize(
    ("mean", "bounds"),
    [(0.0, (-1.0, 1.0)), (1.6, (-1.0, 1.0)), (-1.5, (-1.0, 1.0)), (0.0, (-0.8, math.inf))],
    ids=["between", "above", "below", "one bound"],
)
@pytest.mark.parametrize("pairs", [False, True], ids=["independent", "pairs"])
def test_so_many_repeats_settle_it_four_times_in_five(
    mean: float, bounds: tuple[float, float], pairs: bool
) -> None:
    """Simulated with the mean and spread of the samples at hand; half as many do not.

    2,000 draws: 4 standard deviations of a share of 0.8 are 0.036; ranks may need a little more
    than was foreseen, or a little less.
    """
    n, draws = 4, 2_000
    deviation = 1.0 if pairs else math.sqrt(0.5)
    base = [0.0] * n if pairs else centred(n, 0, deviation)
    new = centred(n, mean, deviation)
    between: Between = Shift.paired if pairs else Shift.independent
    needed = between(base, new).repeats_needed(*bounds)
    assert needed is not None
    assert needed > n

    def settled(repeats: int) -> float:
        rng = np.random.default_rng(repeats)
        wide = 0.0 if pairs else deviation
        bases, news = (
            rng.normal(at, spread, (draws, repeats))
            for at, spread in ((0, wide), (mean, deviation))
        )
        intervals = (between(*sides).interval() for sides in zip(bases, news, strict=True))
        return sum(not any(i.low <= bound <= i.high for bound in bounds) for i in intervals) / draws

    assert 0.75 <= settled(needed) <= 0.88
    assert settled(max(2, needed // 2)) < 0.7


@pytest.mark.parametrize("distance", [0.3, 0.5])
def test_ranks_know_how_many_more_they_need(distance: float) -> None:
    """As theory has it for a normal curve: pi / 3 of what two means need, within a fifth."""
    quantiles = scipy_stats.norm.ppf((np.arange(30) + 0.5) / 30)
    shift = Shift.independent(list(quantiles), list(quantiles + distance))
    found = shift.repeats_needed(0, math.inf)
    reach = scipy_stats.norm.ppf(0.975) + scipy_stats.norm.ppf(0.8)
    assert found == pytest.approx(math.pi / 3 * 2 * (reach / distance) ** 2, rel=0.2)


def test_what_lies_on_a_bound_no_number_of_repeats_settles() -> None:
    """None, instead of a number that nobody would run."""
    on_the_bound = centred(5, 1.0, 0.5)
    assert Shift.independent(centred(5, 0, 0.5), on_the_bound).repeats_needed(-1, 1) is None
    assert Shift.paired([0.0, 0.0], [1.0, 1.0]).repeats_needed(-1, 1) is None
    assert Shift.paired([0.0] * 5, centred(5, 0.999, 1)).repeats_needed(-1, 1) is None


def test_more_noise_or_more_certainty_takes_more_repeats() -> None:
    """And a side that has many already helps the other."""

    def needed(spread: float, power: float = 0.8, confidence: float = 0.95) -> int:
        shift = Shift.independent(centred(5, 0, spread), centred(5, 0, spread))
        found = shift.repeats_needed(-1, 1, power=power, confidence=confidence)
        assert found is not None
        return found

    assert 5 < needed(1) < needed(2) < needed(4) <= MAX_REPEATS
    assert needed(1) < needed(1, power=0.95)
    assert needed(1) < needed(1, confidence=0.99)
    lopsided = Shift.independent(centred(200, 0, 1), centred(5, 0, 1)).repeats_needed(-1, 1)
    assert lopsided is not None
    assert 5 < lopsided < needed(1)


def test_what_is_settled_already_asks_for_one_more() -> None:
    """Never for fewer than there are."""
    assert Shift.paired([0.0] * 3, [0.1] * 3).repeats_needed(-1, 1) == 4
    assert Shift.independent(centred(9, 0, 1), centred(9, 90, 1)).repeats_needed(-1, 1) == 10


def test_bounds_the_wrong_way_round_are_refused() -> None:
    """A slip of the caller's."""
    with pytest.raises(ValueError, match="low <= high"):
        Shift.independent([1, 2], [1, 2]).repeats_needed(1, -1)
