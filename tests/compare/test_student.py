"""Student's t and the normal curve, against scipy's."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from cnnperf.compare.student import normal_quantile, normal_tail, t_reach, t_tail

DEGREES = (0.5, 1.0, 1.0001, 1.7, 2.0, 2.5, 3.0, 4.0, 5.5, 8.0, 29.3, 100.0, 1e4, 1e6, 9.9e6, 1e9)
PLACES = (0.0, 1e-9, 1e-3, 0.1, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 50.0, 1e3, 1e9)
TAILS = (0.5, 0.4, 0.1, 0.05, 0.025, 0.005, 0.025 / 86, 1e-6, 1e-12)


@pytest.mark.parametrize("degrees", DEGREES)
def test_a_tail_is_scipys(degrees: float) -> None:
    """To five digits, also where hardly anything is left."""
    for place in PLACES:
        for t in (place, -place):
            expected = float(special.stdtr(degrees, -t))
            assert t_tail(t, degrees) == pytest.approx(expected, rel=1e-5, abs=1e-290)


@pytest.mark.parametrize("degrees", DEGREES)
def test_a_reach_is_scipys(degrees: float) -> None:
    """For every certainty that is asked for, corrected for many cases or not."""
    for tail in TAILS:
        expected = -float(special.stdtrit(degrees, tail))
        assert t_reach(tail, degrees) == pytest.approx(expected, rel=1e-7, abs=1e-12)


@given(st.floats(1e-9, 0.5), st.floats(0.6, 1e5))
def test_a_reach_leaves_its_tail(tail: float, degrees: float) -> None:
    """One undoes the other."""
    assert t_tail(t_reach(tail, degrees), degrees) == pytest.approx(tail, rel=1e-8)


def test_nothing_lies_beyond_infinity() -> None:
    """And all of it above its other end."""
    assert (t_tail(math.inf, 3), t_tail(-math.inf, 3)) == (0, 1)


@pytest.mark.parametrize("tail", [0.0, -0.1, 0.51, 1.0, math.nan])
def test_a_tail_that_is_none_is_refused(tail: float) -> None:
    """One that is above a half lies on the other side."""
    with pytest.raises(ValueError, match="expected a tail"):
        t_reach(tail, 3)


def test_the_normal_curve_is_scipys() -> None:
    """Far out, too, where 1 - chance would be 0."""
    for z in (-8.0, -1.0, 0.0, 0.3, 2.0, 6.0, 30.0):
        assert normal_tail(z) == pytest.approx(float(special.ndtr(-z)), rel=1e-12)
    for chance in (1e-9, 0.025, 0.5, 0.8):
        assert normal_quantile(chance) == pytest.approx(float(special.ndtri(chance)), abs=1e-9)
