"""Looking several times: the false alarms of all looks together stay those of one test.

Simulated. What has exactly an asserted rate would pass with a probability of 99.9 %.
"""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from scipy.stats import binom

from cnnperf.compare.rules import FIRST_LOOK, Looks
from tests.compare.simulation_ab import (
    LIMIT,
    NOISE,
    SEQUENCES,
    count,
    mean_repeats,
    outcomes,
)


def _at_most(rate: float) -> int:
    """So many of the sequences, if they have this rate, and chance does its worst."""
    return int(binom.ppf(0.999, SEQUENCES, rate))


# --- the schedule -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("most", "schedule"),
    [
        (1, (1,)),
        (2, (2,)),
        (3, (3,)),
        (4, (4,)),
        (5, (3, 5)),
        (10, (4, 6, 10)),
        (20, (3, 5, 8, 12, 20)),
        (50, (5, 8, 12, 20, 31, 50)),
    ],
)
def test_looks_grow_to_the_last(most: int, schedule: tuple[int, ...]) -> None:
    """A budget too small for two looks worth having is looked at once, at the end."""
    looks = Looks(most)
    assert looks.schedule == schedule
    assert looks.confidence == pytest.approx(1 - 0.05 / len(schedule))


@pytest.mark.parametrize("overall", [0.9, 0.95, 0.99])
def test_the_looks_share_one_test_s_error(overall: float) -> None:
    """For every budget: never more in all, each look later than the one before."""
    for most in range(1, 300):
        looks = Looks(most, overall)
        schedule = looks.schedule
        assert schedule[-1] == most
        assert list(schedule) == sorted(set(schedule))
        assert schedule[0] >= min(most, FIRST_LOOK)
        assert len(schedule) * (1 - looks.confidence) == pytest.approx(1 - overall)
        assert all(1.3 <= later / earlier <= 2.0 for earlier, later in pairwise(schedule))


# --- what it finds ------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", [0.005, NOISE, 0.03])
def test_false_alarms_of_all_looks_are_those_of_one_test(noise: float) -> None:
    """Exactly at the threshold slower is called in at most 2.5 %, and same in no more either."""
    looks = Looks(20)
    found = outcomes(LIMIT, noise, looks.schedule, looks.confidence)
    assert count(found, "slower") <= _at_most(0.025)
    assert count(found, "same") <= _at_most(0.025)
    assert count(found, "faster") == 0


def test_outliers_raise_no_false_alarms() -> None:
    """A tenth of all times 10 % too long, on both sides."""
    looks = Looks(20)
    found = outcomes(LIMIT, NOISE, looks.schedule, looks.confidence, outliers=0.1)
    assert count(found, "slower") <= _at_most(0.025)


def test_looking_as_often_without_sharing_the_error_would_raise_them() -> None:
    """The check above can fail: at 95 % each, the same looks are wrong too often."""
    found = outcomes(LIMIT, NOISE, Looks(20).schedule, 0.95)
    assert count(found, "slower") > _at_most(0.025)


def test_nothing_is_found_where_nothing_has_changed() -> None:
    """Nearly every A/A ends early, as `same`."""
    looks = Looks(20)
    found = outcomes(0.0, NOISE, looks.schedule, looks.confidence)
    assert count(found, "slower") + count(found, "faster") == 0
    assert count(found, "same") > 0.99 * SEQUENCES
    assert mean_repeats(found) < 7


def test_a_slowdown_is_found_with_fewer_repeats_than_a_fixed_number() -> None:
    """5 % slower at 1 % noise: 20 repeats a side always find it; so do 20 at most, with half."""
    looks = Looks(20)
    sequential = outcomes(math.log(1.05), NOISE, looks.schedule, looks.confidence)
    fixed = outcomes(math.log(1.05), NOISE, (20,), 0.95)
    assert count(fixed, "slower") == SEQUENCES
    assert count(sequential, "slower") > 0.98 * SEQUENCES
    assert mean_repeats(sequential) < 10


def test_a_large_slowdown_is_found_at_the_first_looks() -> None:
    """10 % slower at 1 % noise."""
    looks = Looks(20)
    found = outcomes(math.log(1.10), NOISE, looks.schedule, looks.confidence)
    assert count(found, "slower") == SEQUENCES
    assert mean_repeats(found) < 4
