"""The healthy part of a fleet, against other people's estimators and the truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from cnnperf.compare.fleet.population import (
    _closest_part,
    describe_population,
    moderated_variances,
    slow_p_values,
)

NO_NOISE = 1e-9


def test_the_closest_part_has_the_least_variance() -> None:
    """Of all parts of neighbours, tried one by one; scaled as a normal sample's middle must be."""
    rng = np.random.default_rng(1)
    for size in (20, 57, 300):
        values = rng.normal(1e6, 2, size)  # far from 0, where sums of squares lose digits
        values[: size // 5] -= 30
        kept = int(np.ceil(0.7 * size))
        ordered = np.sort(values)
        parts = [ordered[start : start + kept] for start in range(size - kept + 1)]
        best = min(parts, key=np.var)
        centre, variance = _closest_part(values)
        assert centre == pytest.approx(best.mean(), rel=1e-12)
        middle = stats.truncnorm(*stats.norm.interval(kept / size)).var()
        assert variance == pytest.approx(best.var() / middle, rel=1e-6)


@pytest.mark.parametrize("bad", [0.0, 0.1, 0.3])
def test_up_to_a_third_of_bad_devices_moves_little(bad: float) -> None:
    """A mean would be 3 % off, and a standard deviation 5 times too wide."""
    rng = np.random.default_rng(2)
    means = rng.normal(0, 0.01, 5000)
    means[: int(bad * 5000)] -= 0.1
    found = describe_population(means, np.full(5000, NO_NOISE))
    assert found.centre == pytest.approx(0, abs=0.001)
    assert found.between_sd == pytest.approx(0.01, rel=0.1)


def test_noise_is_taken_out_of_the_spread() -> None:
    """What trainings differ by is no difference between devices."""
    rng = np.random.default_rng(3)
    trainings = rng.normal(0, 0.01, 4000)[:, None] + rng.normal(0, 0.02, (4000, 4))
    errors = np.full(4000, 0.02 / 2)
    found = describe_population(trainings.mean(axis=1), errors)
    assert found.between_sd == pytest.approx(0.01, rel=0.1)


def test_variances_are_shrunk_as_far_as_they_agree() -> None:
    """Equal noise: all the way. Unequal noise: as far as the spread of the variances allows."""
    rng = np.random.default_rng(4)
    freedoms = np.full(3000, 4.0)
    equal = rng.normal(0, 0.02, (3000, 5)).var(axis=1, ddof=1)
    shrunk, freedom = moderated_variances(equal, freedoms)
    assert np.sqrt(shrunk) == pytest.approx(0.02, rel=0.05)
    assert freedom.min() > 100
    # Variances of a scaled inverse chi-squared law with 8 degrees of freedom (Smyth's model).
    truth = 8 * 0.02**2 / rng.chisquare(8, 3000)
    unequal = truth * rng.chisquare(4, 3000) / 4
    shrunk, freedom = moderated_variances(unequal, freedoms)
    assert freedom[0] == pytest.approx(4 + 8, rel=0.3)
    assert np.mean((shrunk - truth) ** 2) < 0.5 * np.mean((unequal - truth) ** 2)


def test_p_values_of_healthy_devices_are_uniform() -> None:
    """So that a false discovery rate means what it says."""
    rng = np.random.default_rng(5)
    means = rng.normal(0, 0.01, 3000)
    errors = np.full(3000, 0.002)
    means += rng.normal(0, 0.002, 3000)
    population = describe_population(means, errors)
    p_values = slow_p_values(means - population.centre, errors, population)
    assert stats.kstest(p_values, "uniform").pvalue > 0.01


def test_no_spread_at_all_is_no_alarm() -> None:
    """Equal figures, as from a simulator: nothing is slow, and nothing divides by zero."""
    means, errors = np.zeros(10), np.zeros(10)
    population = describe_population(means, errors)
    assert (slow_p_values(means, errors, population) == 0.5).all()
