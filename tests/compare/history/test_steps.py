"""Steps in hundreds of simulated series: true ones are found, and false ones are rare."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from cnnperf.compare.history.steps import MAX_EXACT, find_steps

LIMIT = math.log1p(0.03)

Values = npt.NDArray[np.float64]


def _noise(kind: str, n: int, sd: float, rng: np.random.Generator) -> Values:
    if kind == "normal":
        return rng.normal(0, sd, n)
    if kind == "heavy tails":
        return rng.standard_t(3, n) * sd / math.sqrt(3)
    spikes = (rng.random(n) < 0.05) * rng.exponential(0.2, n)
    return rng.normal(0, sd, n) + spikes


def _with_step(n: int, at: int, ratio: float, sd: float, rng: np.random.Generator) -> Values:
    values = rng.normal(0, sd, n)
    values[at:] += math.log(ratio)
    return values


@pytest.mark.parametrize("kind", ["normal", "heavy tails", "spikes"])
@pytest.mark.parametrize("sd", [0.003, 0.02, 0.06])
def test_noise_gives_a_step_in_at_most_3_of_100_series(kind: str, sd: float) -> None:
    """Whatever the noise is relative to the threshold of 3 %."""
    rng = np.random.default_rng(1)
    series = [_noise(kind, n, sd, rng) for n in (8, 25, 60, 120) for _ in range(50)]
    alarms = sum(bool(find_steps(values, LIMIT).steps) for values in series)
    assert alarms / len(series) <= 0.03


def test_correlated_noise_gives_a_step_in_at_most_5_of_100_series() -> None:
    """Half of a deviation carries over to the next value."""
    rng = np.random.default_rng(2)
    alarms = 0
    for _ in range(100):
        values = rng.normal(0, 0.05, 100)
        for place in range(1, 100):
            values[place] = 0.5 * values[place - 1] + math.sqrt(0.75) * values[place]
        alarms += bool(find_steps(values, LIMIT).steps)
    assert alarms <= 5


@pytest.mark.parametrize(
    ("ratio", "sd", "n", "at"),
    [(1.05, 0.005, 12, 6), (1.05, 0.01, 40, 20), (1.1, 0.02, 40, 20), (0.9, 0.01, 120, 70),
     (1.05, 0.003, 60, 57)],
)  # fmt: skip
def test_step_is_found_at_its_place_with_the_true_shift_in_its_interval(
    ratio: float, sd: float, n: int, at: int
) -> None:
    """At the right place in 9 of 10 series; most intervals hold the true shift."""
    rng = np.random.default_rng(3)
    found = [find_steps(_with_step(n, at, ratio, sd, rng), LIMIT).steps for _ in range(60)]
    assert sum(len(steps) == 1 for steps in found) >= 57
    assert sum(len(steps) == 1 and steps[0].index == at for steps in found) >= 54
    shifts = [steps[0].shift for steps in found if len(steps) == 1]
    holds = sum(shift.low <= math.log(ratio) <= shift.high for shift in shifts)
    assert holds >= 0.85 * len(shifts)
    assert all((shift.estimate > 0) == (ratio > 1) for shift in shifts)


def test_certain_change_below_the_threshold_is_not_a_step() -> None:
    """2 % with a threshold of 3 %."""
    rng = np.random.default_rng(4)
    assert not find_steps(_with_step(200, 100, 1.02, 0.002, rng), LIMIT).steps


@pytest.mark.parametrize("length", [1, 2])
def test_spike_of_one_or_two_values_is_an_outlier_and_not_a_step(length: int) -> None:
    """At any place of the series."""
    rng = np.random.default_rng(5)
    for at in (*range(1, 28), 30 - length):
        values = rng.normal(0, 0.004, 30)
        values[at : at + length] += 0.5
        found = find_steps(values, LIMIT)
        assert not found.steps
        assert found.outliers >= set(range(at, at + length))


def test_value_ten_standard_deviations_away_is_an_outlier() -> None:
    """Five are the limit."""
    values = np.random.default_rng(9).normal(0, 0.01, 60)
    values[[20, 40]] = 0.1, -0.1
    assert find_steps(values, LIMIT).outliers == {20, 40}


def test_step_is_found_although_both_levels_have_a_spike() -> None:
    """The spikes do not change the shift."""
    rng = np.random.default_rng(6)
    values = _with_step(40, 20, 1.06, 0.005, rng)
    values[[10, 30]] += 0.4
    (step,) = find_steps(values, LIMIT).steps
    assert step.index == 20
    assert step.shift.estimate == pytest.approx(math.log(1.06), abs=0.01)


def test_rise_and_fall_are_two_steps() -> None:
    """The level between them has the median of its values."""
    rng = np.random.default_rng(7)
    values = rng.normal(1.0, 0.004, 45)
    values[15:30] += 0.1
    found = find_steps(values, LIMIT)
    assert [step.index for step in found.steps] == [15, 30]
    assert [(level.start, level.stop) for level in found.levels] == [(0, 15), (15, 30), (30, 45)]
    for level in found.levels:
        kept = [v for i, v in enumerate(values) if level.start <= i < level.stop]
        assert level.value == pytest.approx(sorted(kept)[len(kept) // 2], abs=0.004)


@pytest.mark.parametrize("n", range(1, 6))
def test_fewer_than_six_values_have_no_step(n: int) -> None:
    """Even if the last is far away."""
    assert not find_steps([0.0] * (n - 1) + [5.0], LIMIT).steps


def test_six_values_can_have_a_step() -> None:
    """Three values before it and three after it."""
    (step,) = find_steps([0.0] * 3 + [0.1] * 3, LIMIT).steps
    assert step.index == 3


@pytest.mark.parametrize(("value", "index"), [(0.04999, 11), (0.05001, 10)])
def test_value_halfway_between_two_levels_makes_two_places_plausible(
    value: float, index: int
) -> None:
    """The place is that of the nearer level."""
    (step,) = find_steps([0.0] * 10 + [value] + [0.1] * 10, LIMIT).steps
    assert (step.index, step.earliest, step.latest) == (index, 10, 11)


def test_constant_values_have_a_step_only_above_the_threshold() -> None:
    """An accuracy that the seed fixes to the last bit."""
    assert not find_steps([0.99] * 20, 0.005).steps
    assert [step.index for step in find_steps([0.99] * 10 + [0.98] * 10, 0.005).steps] == [10]
    assert not find_steps([0.99] * 10 + [0.987] * 10, 0.005).steps


def test_step_in_a_series_longer_than_the_exact_search_is_found_to_the_value() -> None:
    """Bins are refined."""
    rng = np.random.default_rng(8)
    n, at = 3 * MAX_EXACT + 7, MAX_EXACT + 101
    (step,) = find_steps(_with_step(n, at, 1.05, 0.005, rng), LIMIT).steps
    assert step.index == at


def test_no_values_or_no_limit_is_a_value_error() -> None:
    """Neither has an answer."""
    with pytest.raises(ValueError, match="expected values"):
        find_steps([], LIMIT)
    with pytest.raises(ValueError, match="a limit above 0"):
        find_steps([1.0], 0)
