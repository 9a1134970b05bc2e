"""Student's t and the normal curve: chances and quantiles, in plain arithmetic.

scipy has them too, but takes longer to import than a whole comparison takes; tests hold these to
scipy's. Degrees of freedom need not be whole, as Welch's are not.
"""

from __future__ import annotations

import functools
import math
from statistics import NormalDist

MAX_TERMS = 10_000
"""Of the continued fraction, which needs about 3 * sqrt(degrees) of them."""
ENOUGH = 3e-16
"""A term that differs from 1 by less changes nothing."""
MANY_DEGREES = 1e7
"""From here on t is the normal curve, to seven digits and more."""
TINY = 1e-300


def normal_tail(z: float) -> float:
    """Chance of a value above z."""
    return 0.5 * math.erfc(z / math.sqrt(2))


def normal_quantile(chance: float) -> float:
    """The value below which this chance lies."""
    return NormalDist().inv_cdf(chance)


def t_tail(t: float, degrees: float) -> float:
    """Chance of a value above t."""
    if degrees > MANY_DEGREES:
        return normal_tail(t)
    if math.isinf(t):
        return 0.0 if t > 0 else 1.0
    beyond = 0.5 * _incomplete_beta(degrees / 2, 0.5, *_shares(t, degrees))
    return beyond if t > 0 else 1 - beyond


def _shares(t: float, degrees: float) -> tuple[float, float]:
    """Of degrees and of t², in their sum; without cancelling or overflowing."""
    ratio = abs(t) / math.sqrt(degrees)
    whole = math.hypot(1, ratio)
    return (1 / whole) ** 2, (ratio / whole) ** 2


@functools.lru_cache(maxsize=4096)
def t_reach(tail: float, degrees: float) -> float:
    """The t above which this chance lies; the inverse of `t_tail`.

    Raises:
        ValueError: tail is not between 0 and 0.5, both left out but for 0.5 itself.
    """
    if not 0 < tail <= 0.5:
        raise ValueError(f"expected a tail above 0 and up to 0.5, got {tail}")
    if degrees > MANY_DEGREES:
        return -normal_quantile(tail)
    low, high = 0.0, 1.0
    while t_tail(high, degrees) > tail:
        low, high = high, high * 2
    t = (low + high) / 2
    for _ in range(200):
        excess = t_tail(t, degrees) - tail
        low, high = (t, high) if excess > 0 else (low, t)
        step = t + excess / _density(t, degrees)
        step = step if low < step < high else (low + high) / 2  # Newton's, where it stays inside
        if abs(step - t) <= 1e-15 * t:
            return step
        t = step
    return t


def _density(t: float, degrees: float) -> float:
    """Never 0, as it is divided by."""
    log_scale = math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2)
    log_scale -= 0.5 * math.log(degrees * math.pi)
    log_shape = -(degrees + 1) * math.log(math.hypot(1, t / math.sqrt(degrees)))
    return max(math.exp(log_scale + log_shape), TINY)


def _incomplete_beta(a: float, b: float, x: float, rest: float) -> float:
    """Regularised, at x = 1 - rest; from whichever side its continued fraction is fast."""
    if x <= 0 or rest <= 0:
        return 0.0 if x <= 0 else 1.0
    log_front = a * math.log(x) + b * math.log(rest) - _log_beta(a, b)
    if x < (a + 1) / (a + b + 2):
        return math.exp(log_front) * _fraction(a, b, x) / a
    return 1 - math.exp(log_front) * _fraction(b, a, rest) / b


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _fraction(a: float, b: float, x: float) -> float:
    """Its continued fraction (DLMF 8.17.22), from the front (Lentz 1976, Thompson & Barnett)."""
    numerator, denominator = 1.0, 1 / _not_zero(1 - (a + b) * x / (a + 1))
    value = denominator
    for m in range(1, MAX_TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            denominator = 1 / _not_zero(1 + term * denominator)
            numerator = _not_zero(1 + term / numerator)
            value *= numerator * denominator
        if abs(numerator * denominator - 1) < ENOUGH:
            break
    return value


def _not_zero(value: float) -> float:
    return value if abs(value) > TINY else TINY
