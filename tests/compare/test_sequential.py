"""Looking several times: the false alarms of all looks together stay those of one test.

Simulated with the judge's rule for a time: slower where the interval of the ratio lies wholly
above 1.03, faster below its inverse, same between them; the first look that says one of these ends
it. Where a rate is asserted, what has exactly that rate would pass with a probability of 99.9 %.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
from scipy.stats import binom

from cnnperf.compare.sequential import FIRST_LOOK, Looks
from cnnperf.compare.stats import Shift

LIMIT = math.log(1.03)
NOISE = 0.01
"""Standard deviation of the logarithm of one time."""

SEQUENCES = 1500


class Outcome(NamedTuple):
    """How one sequence ended."""

    verdict: str
    repeats: int


def _verdict(base: np.ndarray, new: np.ndarray, confidence: float) -> str:
    interval = Shift.independent(list(base), list(new)).interval(confidence)
    if interval.low > LIMIT:
        return "slower"
    if interval.high < -LIMIT:
        return "faster"
    inside = interval.low > -LIMIT and interval.high < LIMIT
    return "same" if inside else "inconclusive"


def _run(base: np.ndarray, new: np.ndarray, looks: tuple[int, ...], confidence: float) -> Outcome:
    for repeats in looks:
        verdict = _verdict(base[:repeats], new[:repeats], confidence)
        if verdict != "inconclusive":
            break
    return Outcome(verdict, repeats)


@lru_cache
def _outcomes(
    shift: float, noise: float, looks: tuple[int, ...], confidence: float, outliers: float = 0.0
) -> tuple[Outcome, ...]:
    """Of many sequences whose true ratio is exp(shift); some times are 10 % too long."""
    rng = np.random.default_rng(20)
    found = []
    for _ in range(SEQUENCES):
        base, new = rng.normal(0, noise, (2, looks[-1]))
        base, new = (side + 0.1 * (rng.random(looks[-1]) < outliers) for side in (base, new))
        found.append(_run(base, new + shift, looks, confidence))
    return tuple(found)


def _count(outcomes: tuple[Outcome, ...], verdict: str) -> int:
    return sum(outcome.verdict == verdict for outcome in outcomes)


def _mean_repeats(outcomes: tuple[Outcome, ...]) -> float:
    return float(np.mean([outcome.repeats for outcome in outcomes]))


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
    outcomes = _outcomes(LIMIT, noise, looks.schedule, looks.confidence)
    assert _count(outcomes, "slower") <= _at_most(0.025)
    assert _count(outcomes, "same") <= _at_most(0.025)
    assert _count(outcomes, "faster") == 0


def test_outliers_raise_no_false_alarms() -> None:
    """A tenth of all times 10 % too long, on both sides."""
    looks = Looks(20)
    outcomes = _outcomes(LIMIT, NOISE, looks.schedule, looks.confidence, outliers=0.1)
    assert _count(outcomes, "slower") <= _at_most(0.025)


def test_looking_as_often_without_sharing_the_error_would_raise_them() -> None:
    """The check above can fail: at 95 % each, the same looks are wrong too often."""
    outcomes = _outcomes(LIMIT, NOISE, Looks(20).schedule, 0.95)
    assert _count(outcomes, "slower") > _at_most(0.025)


def test_nothing_is_found_where_nothing_has_changed() -> None:
    """Nearly every A/A ends early, as `same`."""
    looks = Looks(20)
    outcomes = _outcomes(0.0, NOISE, looks.schedule, looks.confidence)
    assert _count(outcomes, "slower") + _count(outcomes, "faster") == 0
    assert _count(outcomes, "same") > 0.99 * SEQUENCES
    assert _mean_repeats(outcomes) < 7


def test_a_slowdown_is_found_with_fewer_repeats_than_a_fixed_number() -> None:
    """5 % slower at 1 % noise: 20 repeats a side always find it; so do 20 at most, with half."""
    looks = Looks(20)
    sequential = _outcomes(math.log(1.05), NOISE, looks.schedule, looks.confidence)
    fixed = _outcomes(math.log(1.05), NOISE, (20,), 0.95)
    assert _count(fixed, "slower") == SEQUENCES
    assert _count(sequential, "slower") > 0.98 * SEQUENCES
    assert _mean_repeats(sequential) < 10


def test_a_large_slowdown_is_found_at_the_first_looks() -> None:
    """10 % slower at 1 % noise."""
    looks = Looks(20)
    outcomes = _outcomes(math.log(1.10), NOISE, looks.schedule, looks.confidence)
    assert _count(outcomes, "slower") == SEQUENCES
    assert _mean_repeats(outcomes) < 4
