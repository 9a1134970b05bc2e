"""Looking several times at a growing A/B, simulated: `python -m tests.compare.simulation_ab`.

With the judge's rule for a time: slower where the interval of the ratio lies wholly above 1.03,
faster below its inverse, same between them; the first look that says one of these ends it.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from cnnperf.compare.rules import Looks
from cnnperf.compare.stats import Shift
from tests.compare.simulation import percent, print_table

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
def outcomes(
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


def count(found: tuple[Outcome, ...], verdict: str) -> int:
    return sum(outcome.verdict == verdict for outcome in found)


def mean_repeats(found: tuple[Outcome, ...]) -> float:
    return float(np.mean([outcome.repeats for outcome in found]))


def main() -> None:
    """Print how A/B runs of at most 20 repeats a side end, beside a fixed number of 20 and 10."""
    looks = Looks(20)
    rows = []
    for noise, ratio in ((0.01, 1.0), (0.01, 1.03), (0.01, 1.05), (0.02, 1.05), (0.02, 1.07)):
        shift = math.log(ratio)
        found = outcomes(shift, noise, looks.schedule, looks.confidence)
        fixed = [outcomes(shift, noise, (repeats,), 0.95) for repeats in (20, 10)]
        ended = [percent(count(found, verdict) / SEQUENCES) for verdict in ("slower", "same")]
        alone = [percent(count(each, "slower") / SEQUENCES) for each in fixed]
        rows.append([f"{noise:.0%}", f"{ratio:.2f}", *ended, f"{mean_repeats(found):.1f}", *alone])
    heads = ["noise", "true ratio", "slower", "same", "mean repeats", "slower, 20", "slower, 10"]
    print_table(f"A/B of at most 20 a side, {SEQUENCES:,} sequences each", heads, rows)


if __name__ == "__main__":
    main()
