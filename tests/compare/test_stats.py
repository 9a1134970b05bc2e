"""Intervals, p-values and their correction for many cases, against scipy and by hand."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from cnnperf.compare.stats import MIN_FOR_RANKS, Interval, Shift, holm, p_fewer

Between = Callable[[Sequence[float], Sequence[float]], Shift]

# Whole multiples of 1/64, so that sums and differences are exact and ties are common.
values = st.integers(-10_000, 10_000).map(lambda value: value / 64)
samples = st.lists(values, min_size=2, max_size=12)
shifts = st.integers(-1_000, 1_000).map(lambda value: value / 64)
confidences = st.floats(0.01, 0.999)
SIZES = [(2, 2), (3, 3), (3, 7), (5, 4), (7, 7), (7, 30)]
RANK_SIZES = [(8, 8), (8, 12), (10, 10), (20, 9), (25, 25)]


def normal(seed: int, size: int, at: float = 0.0, spread: float = 1.0) -> list[float]:
    return list(np.random.default_rng([seed, size]).normal(at, spread, size))


def ends(interval: Interval) -> tuple[float, float]:
    return interval.low, interval.high


@pytest.mark.parametrize(("base_size", "new_size"), SIZES)
@pytest.mark.parametrize("seed", range(3))
def test_few_values_are_compared_by_welchs_t(base_size: int, new_size: int, seed: int) -> None:
    """Estimate, interval and both p-values are scipy's, with unequal sizes and spreads."""
    base, new = normal(seed, base_size), normal(seed + 10, new_size, at=0.5, spread=3)
    shift = Shift.independent(base, new)
    theirs = scipy_stats.ttest_ind(new, base, equal_var=False)
    assert shift.estimate == pytest.approx(np.mean(new) - np.mean(base))
    for confidence in (0.5, 0.9, 0.95, 0.999):
        expected = theirs.confidence_interval(confidence)
        assert ends(shift.interval(confidence)) == pytest.approx((expected.low, expected.high))
    moved = np.array(new) - 0.3
    for p, side in ((shift.p_above(0.3), "greater"), (shift.p_below(0.3), "less")):
        expected_p = scipy_stats.ttest_ind(moved, base, equal_var=False, alternative=side).pvalue
        assert p == pytest.approx(expected_p)


@pytest.mark.parametrize(("base_size", "new_size"), RANK_SIZES)
@pytest.mark.parametrize("at", [0.0, 0.7, 2.0])
def test_many_values_are_compared_by_ranks(base_size: int, new_size: int, at: float) -> None:
    """Both p-values are those of scipy's exact Mann-Whitney test."""
    base, new = normal(1, base_size), normal(2, new_size, at=at)
    shift = Shift.independent(base, new)
    for trial in (-1.0, 0.0, 0.3, 1.0):
        moved = np.array(new) - trial
        for p, side in ((shift.p_above(trial), "greater"), (shift.p_below(trial), "less")):
            test = scipy_stats.mannwhitneyu(moved, base, alternative=side, method="exact")
            assert p == pytest.approx(test.pvalue)


@pytest.mark.parametrize(("base_size", "new_size"), RANK_SIZES)
def test_a_rank_interval_holds_what_the_rank_test_would_not_refuse(
    base_size: int, new_size: int
) -> None:
    """A hair within either end scipy's test passes; a hair beyond it refuses."""
    base, new = normal(3, base_size), normal(4, new_size, at=1)
    interval = Shift.independent(base, new).interval(0.9)

    def p(shift: float) -> float:
        moved = np.array(new) - shift
        return float(scipy_stats.mannwhitneyu(moved, base, method="exact").pvalue)

    hair = 1e-9
    assert min(p(interval.low + hair), p(interval.high - hair)) >= 0.1
    assert max(p(interval.low - hair), p(interval.high + hair)) < 0.1


def test_the_estimate_by_ranks_is_the_median_difference() -> None:
    """Hodges and Lehmann's, over all pairs."""
    base, new = normal(5, 9), normal(6, 11)
    differences = [second - first for first in base for second in new]
    assert Shift.independent(base, new).estimate == pytest.approx(np.median(differences))


def test_very_many_values_are_compared_by_the_normal_curve() -> None:
    """As scipy does, corrected for continuity; close to what is counted for 50 a side."""
    for size in (51, 400):
        base, new = normal(7, size), normal(8, size, at=0.2)
        expected = scipy_stats.mannwhitneyu(
            new, base, alternative="greater", method="asymptotic", use_continuity=True
        )
        assert Shift.independent(base, new).p_above(0) == pytest.approx(expected.pvalue)
    exact = Shift.independent(normal(7, 50), normal(8, 50, at=0.2)).p_above(0)
    curve = scipy_stats.mannwhitneyu(
        normal(8, 50, at=0.2), normal(7, 50), alternative="greater", method="asymptotic"
    )
    assert exact == pytest.approx(curve.pvalue, rel=0.02)


def test_a_hundred_thousand_values_are_compared_without_all_their_differences() -> None:
    """By means, in memory that any machine has."""
    base, new = normal(9, 100_000), normal(10, 100_000, at=0.1)
    expected = scipy_stats.ttest_ind(new, base, equal_var=False).confidence_interval()
    assert ends(Shift.independent(base, new).interval()) == pytest.approx(tuple(expected))


@pytest.mark.parametrize("size", [2, 3, 5, 10, 30])
def test_pairs_are_compared_by_their_differences(size: int) -> None:
    """By scipy's test of one sample, however many there are."""
    base, new = normal(11, size), normal(12, size, at=0.5)
    shift = Shift.paired(base, new)
    test = scipy_stats.ttest_1samp(np.array(new) - base, 0.2, alternative="greater")
    expected = scipy_stats.ttest_rel(new, base).confidence_interval(0.9)
    assert shift.p_above(0.2) == pytest.approx(test.pvalue)
    assert shift.p_below(0.2) == pytest.approx(1 - test.pvalue)
    assert ends(shift.interval(0.9)) == pytest.approx(tuple(expected))
    assert shift.n == size


def test_what_a_seed_decides_cancels_in_pairs() -> None:
    """Seeds that differ by much, sides that differ by little."""
    base, new = [1.0, 5.0, 9.0, 3.0], [1.1, 5.12, 9.09, 3.11]
    assert Shift.paired(base, new).interval().low > 0
    assert Shift.independent(base, new).interval().low < 0


# --- properties ---------------------------------------------------------------------------------


@given(samples, samples)
def test_swapping_the_sides_mirrors_everything(base: list[float], new: list[float]) -> None:
    """What lies above on one side lies below on the other."""
    there, back = Shift.independent(base, new), Shift.independent(new, base)
    low, high = ends(there.interval())
    assert ends(back.interval()) == pytest.approx((-high, -low))
    assert back.estimate == pytest.approx(-there.estimate)
    assert back.p_below(-0.5) == pytest.approx(there.p_above(0.5), abs=1e-12)


@given(samples, samples, shifts)
def test_moving_one_side_moves_the_interval(base: list[float], new: list[float], by: float) -> None:
    """By as much, and leaves the p-value of what moved with it."""
    moved = Shift.independent(base, [value + by for value in new])
    still = Shift.independent(base, new)
    low, high = ends(still.interval())
    assert ends(moved.interval()) == pytest.approx((low + by, high + by), abs=1e-9)
    assert moved.p_above(by) == pytest.approx(still.p_above(0), abs=1e-9)


@given(samples, samples, confidences, confidences)
def test_more_confidence_is_wider(
    base: list[float], new: list[float], one: float, other: float
) -> None:
    """And every interval holds its estimate."""
    shift = Shift.independent(base, new)
    narrow, wide = (shift.interval(confidence) for confidence in sorted((one, other)))
    slack = 1e-9 * (1 + abs(narrow.estimate))
    assert wide.low - slack <= narrow.low <= narrow.estimate + slack
    assert wide.high + slack >= narrow.high >= narrow.estimate - slack


@given(samples, samples, shifts, confidences)
def test_intervals_and_p_values_agree(
    base: list[float], new: list[float], at: float, confidence: float
) -> None:
    """A shift is outside exactly if its p-value is below half of what the confidence leaves."""
    for shift in (Shift.independent(base, new), Shift.paired(base[:2], new[:2])):
        interval = shift.interval(confidence)
        p, tail = min(shift.p_above(at), shift.p_below(at)), (1 - confidence) / 2
        if not math.isclose(p, tail, rel_tol=1e-6):  # where rounding decides
            assert (p < tail) == (not interval.low <= at <= interval.high)


@given(st.permutations(normal(13, 9)), st.permutations(normal(14, 8)))
def test_the_order_of_a_sample_does_not_matter(base: list[float], new: list[float]) -> None:
    """Values of a side are exchangeable."""
    expected = Shift.independent(normal(13, 9), normal(14, 8))
    assert Shift.independent(base, new).interval() == expected.interval()


@given(st.lists(st.integers(0, 4), min_size=8, max_size=10), st.integers(0, 4))
def test_ties_never_make_it_easier_to_refuse(raw: list[int], at: int) -> None:
    """The p-value is that of the least favourable way to break them."""
    base, new = [float(value) for value in raw[::-1]], [float(value % 3) for value in raw]
    shift = Shift.independent(base, new)
    if np.ptp(base) == np.ptp(new) == 0:
        return
    against = np.array(new) - at - 1e-6  # every tie counts as a pair in which new lies below
    test = scipy_stats.mannwhitneyu(against, base, alternative="greater", method="exact")
    assert shift.p_above(at) == pytest.approx(test.pvalue)


# --- few values, equal values, wrong values -----------------------------------------------------


@pytest.mark.parametrize("n", [2, 3, MIN_FOR_RANKS, 20])
@pytest.mark.parametrize("between", [Shift.independent, Shift.paired])
def test_without_any_spread_the_interval_is_a_point(between: Between, n: int) -> None:
    """0.1 has no exact mean of three: rounding must not pass for spread."""
    shift = between([0.1] * n, [0.7] * n)
    interval = shift.interval()
    assert interval.low == interval.high == interval.estimate == 0.7 - 0.1
    assert (shift.p_above(0.5), shift.p_above(0.7)) == (0, 1)
    assert (shift.p_below(0.5), shift.p_below(0.7)) == (1, 0)
    assert (shift.p_above(interval.estimate), shift.p_below(interval.estimate)) == (1, 1)


def test_one_side_without_spread_is_no_obstacle() -> None:
    """Welch's t then has the degrees of freedom of the other side."""
    shift = Shift.independent([1.0, 1.0, 1.0], [2.0, 2.5, 3.0])
    expected = scipy_stats.ttest_1samp([1.0, 1.5, 2.0], 0).confidence_interval()
    assert ends(shift.interval()) == pytest.approx(tuple(expected))


@pytest.mark.parametrize(("base", "new"), [([1.0], [2.0]), ([1.0] * 9, [2.0]), ([1.0], [2.0] * 3)])
def test_a_single_value_a_side_decides_nothing(base: list[float], new: list[float]) -> None:
    """An estimate without bounds."""
    shift = Shift.independent(base, new)
    assert not shift.is_decidable
    assert shift.interval() == Interval(estimate=1, low=-math.inf, high=math.inf, confidence=0.95)
    assert shift.p_above(-100) == shift.p_below(100) == 1
    assert shift.repeats_needed(-1, 1) is None
    assert not Shift.paired([1.0], [2.0]).is_decidable


def test_two_values_a_side_can_decide() -> None:
    """It is the least there is."""
    assert Shift.independent([1.0, 1.001], [2.0, 2.001]).interval().low > 0.9


@pytest.mark.parametrize("wrong", [[], [1.0, math.nan], [math.inf, 1.0], [1.0, 2.0, -math.inf]])
@pytest.mark.parametrize("between", [Shift.independent, Shift.paired])
def test_a_value_that_is_not_finite_is_refused(between: Between, wrong: list[float]) -> None:
    """On either side; it never passes for a small one."""
    right = [1.0] * len(wrong) or [1.0]
    for base, new in ((wrong, right), (right, wrong)):
        with pytest.raises(ValueError, match="finite"):
            between(base, new)


def test_pairs_of_unequal_length_are_refused() -> None:
    """Nothing says which belong together."""
    with pytest.raises(ValueError, match="equal lengths, got 2 and 3"):
        Shift.paired([1, 2], [1, 2, 3])


@pytest.mark.parametrize("confidence", [0, 1, -0.5, 95, math.nan])
def test_a_confidence_that_is_none_is_refused(confidence: float) -> None:
    """95 % is 0.95."""
    with pytest.raises(ValueError, match="between 0 and 1"):
        Shift.independent([1, 2], [1, 2]).interval(confidence)


def test_ranks_hardly_notice_an_outlier() -> None:
    """One wild run of ten moves the interval by less than its width; a mean it would drag along."""
    base, new = normal(15, 10), normal(16, 10, at=3)
    wild = [1e6, *new[1:]]
    interval, after = (Shift.independent(base, side).interval() for side in (new, wild))
    assert after.low >= interval.low - 0.5
    assert after.high < interval.high + (interval.high - interval.low)


def test_ranks_bound_nothing_at_a_confidence_beyond_their_rarest_order() -> None:
    """1 in 12,870 of 8 against 8."""
    shift = Shift.independent(normal(17, 8), normal(18, 8, at=50))
    assert shift.p_above(0) == pytest.approx(1 / 12_870)
    assert shift.interval(1 - 2.1 / 12_870).low > 0
    assert ends(shift.interval(1 - 1.9 / 12_870)) == (-math.inf, math.inf)


# --- a spread that few values hide ---------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 3, 5])
def test_a_least_spread_is_that_of_every_side(n: int) -> None:
    """Scipy's t of values that vary by just so much."""
    noise = np.array(normal(21, n))
    noise = 0.7 * (noise - noise.mean()) / noise.std(ddof=1)
    flat = Shift.independent([3.0] * n, [5.0] * n, least_sd=0.7)
    expected = scipy_stats.ttest_ind(5 + noise, 3 + noise, equal_var=False)
    assert ends(flat.interval()) == pytest.approx(tuple(expected.confidence_interval()))
    pairs = Shift.paired([3.0] * n, [5.0] * n, least_sd=0.7)
    alone = scipy_stats.ttest_1samp(2 + noise, 0).confidence_interval()
    assert ends(pairs.interval()) == pytest.approx(tuple(alone))


@pytest.mark.parametrize("between", [Shift.independent, Shift.paired])
def test_a_spread_above_the_least_stays_what_it_is(between: Callable[..., Shift]) -> None:
    """It is a least one, not one that is added."""
    base, new = normal(22, 5), normal(23, 5)
    assert between(base, new, least_sd=0.01).interval() == between(base, new).interval()


def test_pairs_without_any_difference_have_no_spread() -> None:
    """That is one training done twice, bit by bit."""
    assert ends(Shift.paired([1.0, 2.0], [1.0, 2.0], least_sd=9.0).interval()) == (0, 0)


@given(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))
def test_too_few_hits_are_told_by_fishers_exact_test(a: int, b: int, c: int, d: int) -> None:
    """Scipy's, one-sided."""
    expected = scipy_stats.fisher_exact([[a, b], [c, d]], alternative="less").pvalue
    assert p_fewer(a, a + b, c, c + d) == pytest.approx(expected, abs=1e-12)


# --- many cases at once -------------------------------------------------------------------------


def closed_testing(p_values: list[float]) -> list[float]:
    """Holm's from first principles: one is refused if Bonferroni refuses all sets that have it."""
    count = range(len(p_values))
    sets = [each for size in count for each in itertools.combinations(count, size + 1)]
    strict = {each: min(1.0, len(each) * min(p_values[i] for i in each)) for each in sets}
    return [max(p for each, p in strict.items() if i in each) for i in count]


@given(st.lists(st.floats(0, 1) | st.sampled_from([0.0, 0.01, 0.02, 1.0]), max_size=7))
def test_holms_correction_is_closed_testing_by_bonferroni(p_values: list[float]) -> None:
    """Whatever the p-values, ties included, and in their order."""
    adjusted = holm(dict(enumerate(p_values)))
    assert list(adjusted) == list(range(len(p_values)))
    assert list(adjusted.values()) == pytest.approx(closed_testing(p_values))


def test_holms_correction_by_hand() -> None:
    """Times 3, 2 and 1, and never below the one before."""
    assert holm({"a": 0.03, "b": 0.01, "c": 0.04}) == pytest.approx(
        {"a": 0.06, "b": 0.03, "c": 0.06}
    )
    assert holm({}) == {}


@pytest.mark.parametrize("wrong", [-0.1, 1.1, math.nan])
def test_what_is_no_probability_is_refused(wrong: float) -> None:
    """A NaN would sort anywhere."""
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm({"a": 0.5, "b": wrong})


@settings(max_examples=25)
@given(st.lists(values, min_size=8, max_size=60), st.lists(values, min_size=8, max_size=60), shifts)
def test_a_p_value_is_always_one_that_can_be_corrected(
    base: list[float], new: list[float], at: float
) -> None:
    """Between 0 and 1 to the last bit."""
    shift = Shift.independent(base, new)
    holm({"above": shift.p_above(at), "below": shift.p_below(at), "all": shift.p_above(1e9)})
