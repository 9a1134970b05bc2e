"""Simulated comparisons: how measurements scatter, what rules say, and how often they err.

Nothing here is measured: times are drawn from three kinds of noise, and the truth is known. Our
own rule goes through `cnnperf.compare.stats` as a real comparison does; those of other tools are
written from the descriptions of what they do.

Shapes: `D` draws, `N` repeats a side, `C` cases of a run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from cnnperf.compare.stats import CONFIDENCE, Shift, holm

Values = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Rng = np.random.Generator
Noise = Callable[[Rng, tuple[int, ...]], Values]
Rule = Callable[[Values, Values], Flags]

CV = 0.01
"""Standard deviation of clean noise over its mean."""
THRESHOLD = math.log(1.03)
"""Of cnnperf's rule: changes up to this one do not count."""
ALPHA = (1 - CONFIDENCE) / 2
REPEATS = (3, 5, 7, 10, 20)
CHANGES = (0.0, 0.02, 0.03, 0.05, 0.10)
CASES = 16
ACCURACY_SD = 0.0024
"""Of 10,000 test images of which 94 % are classified rightly: binomial."""


def clean(rng: Rng, shape: tuple[int, ...]) -> Values:
    """Times of a quiet machine, about 1."""
    return 1 + CV * rng.standard_normal(shape)


def outliers(rng: Rng, shape: tuple[int, ...]) -> Values:
    """One time in ten is a fifth longer: something else ran."""
    return clean(rng, shape) * np.where(rng.random(shape) < 0.1, 1.2, 1.0)


def two_modes(rng: Rng, shape: tuple[int, ...]) -> Values:
    """Every process draws one of two speeds, 6 % apart, and keeps it."""
    return clean(rng, shape) * np.where(rng.random(shape) < 0.5, 1.06, 1.0)


NOISES: dict[str, Noise] = {"clean": clean, "outliers": outliers, "two modes": two_modes}


def logs(base_DN: Values, new_DN: Values) -> Iterable[Shift]:
    """One comparison a draw, on the scale on which the judge compares times."""
    return (
        Shift.independent(base_N, new_N)
        for base_N, new_N in zip(np.log(base_DN), np.log(new_DN), strict=True)
    )


def cnnperf(base_DN: Values, new_DN: Values) -> Flags:
    """Slower: the 95 % interval of the ratio lies wholly above 1.03."""
    return np.array([shift.interval().low > THRESHOLD for shift in logs(base_DN, new_DN)])


def pytest_benchmark(base_DN: Values, new_DN: Values) -> Flags:
    """`--benchmark-compare-fail=mean:5%`: the mean is more than 5 % longer."""
    return np.asarray(new_DN.mean(axis=1) > 1.05 * base_DN.mean(axis=1))


def torchbench(base_DN: Values, new_DN: Values) -> Flags:
    """The median is more than 7 % longer."""
    return np.median(new_DN, axis=1) > 1.07 * np.median(base_DN, axis=1)


def asv(base_DN: Values, new_DN: Values) -> Flags:
    """Mann and Whitney's test, two-sided, below 0.002, and a median more than 10 % longer."""
    from scipy.stats import mannwhitneyu

    p_D = mannwhitneyu(base_DN, new_DN, axis=1, method="exact").pvalue
    longer_D = np.median(new_DN, axis=1) > 1.1 * np.median(base_DN, axis=1)
    return np.asarray((p_D < 0.002) & longer_D)


def github_action_benchmark(base_DN: Values, new_DN: Values) -> Flags:
    """Above 200 % of the last run, by the means."""
    return np.asarray(new_DN.mean(axis=1) > 2 * base_DN.mean(axis=1))


RULES: dict[str, Rule] = {
    "cnnperf": cnnperf,
    "pytest-benchmark, mean:5%": pytest_benchmark,
    "TorchBench, 7 %": torchbench,
    "asv, p < 0.002 and 10 %": asv,
    "github-action-benchmark, 200 %": github_action_benchmark,
}


def draw(noise: Noise, draws: int, repeats: int, seed: int = 0) -> tuple[Values, Values]:
    """Both sides of so many comparisons in which nothing has changed; the same for one seed."""
    rng = np.random.default_rng([seed, repeats])
    return noise(rng, (draws, repeats)), noise(rng, (draws, repeats))


def share_slower(
    rule: Rule, noise: Noise, repeats: int, change: float, draws: int, seed: int = 0
) -> float:
    """Share of comparisons in which the rule says slower, where new takes 1 + change as long."""
    base_DN, new_DN = draw(noise, draws, repeats, seed)
    return float(rule(base_DN, new_DN * (1 + change)).mean())


def verdict(shift: Shift) -> str:
    """Of one time, as the judge gives it where a run has one case."""
    interval = shift.interval()
    if interval.low > THRESHOLD or interval.high < -THRESHOLD:
        return "slower" if interval.low > THRESHOLD else "faster"
    is_within = interval.low > -THRESHOLD and interval.high < THRESHOLD
    return "same" if is_within else "inconclusive"


def verdict_shares(
    noise: Noise, repeats: int, change: float, draws: int, seed: int = 0
) -> dict[str, float]:
    """How often cnnperf says what."""
    base_DN, new_DN = draw(noise, draws, repeats, seed)
    verdicts = [verdict(shift) for shift in logs(base_DN, new_DN * (1 + change))]
    said = ("same", "inconclusive", "slower", "faster")
    return {name: verdicts.count(name) / draws for name in said}


def coverage(
    noise: Noise, repeats: int, draws: int, seed: int = 0, new_noise: Noise | None = None
) -> float:
    """Share of 95 % intervals that hold the true ratio, which is 1."""
    rng = np.random.default_rng([seed, repeats])
    base_DN = noise(rng, (draws, repeats))
    new_DN = (new_noise or noise)(rng, (draws, repeats))
    intervals = [shift.interval() for shift in logs(base_DN, new_DN)]
    return sum(interval.low <= 0 <= interval.high for interval in intervals) / draws


def restless(rng: Rng, shape: tuple[int, ...]) -> Values:
    """Clean noise three times as large."""
    return 1 + 3 * CV * rng.standard_normal(shape)


def t_finds(noise: Noise, repeats: int, change: float, draws: int, seed: int = 0) -> float:
    """Share of comparisons called slower if Welch's t decided for every number of repeats."""
    from scipy.stats import ttest_ind

    base_DN, new_DN = draw(noise, draws, repeats, seed)
    test = ttest_ind(np.log(new_DN * (1 + change)), np.log(base_DN), axis=1, equal_var=False)
    return float((test.confidence_interval(CONFIDENCE).low > THRESHOLD).mean())


def run_alarms(
    repeats: int, changes: Sequence[float], runs: int, *, seed: int = 0, correct: bool = True
) -> Flags:
    """Which cases of which runs are called slower, by run and case.

    Args:
        repeats: a side.
        changes: the true change of every case of a run.
        runs: how many.
        seed: of the noise, which is clean.
        correct: for the number of cases (Holm), as the judge does.
    """
    rng = np.random.default_rng([seed, repeats])
    shape = (runs, len(changes), repeats)
    base, new = clean(rng, shape), clean(rng, shape) * (1 + np.array(changes)[:, None])
    found = np.zeros((runs, len(changes)), dtype=bool)
    for run in range(runs):
        p_values = {
            case: shift.p_above(THRESHOLD) for case, shift in enumerate(logs(base[run], new[run]))
        }
        judged = holm(p_values) if correct else p_values
        found[run] = [judged[case] < ALPHA for case in range(len(changes))]
    return found


def accuracy_pairs(rng: Rng, draws: int, repeats: int, correlation: float) -> tuple[Values, Values]:
    """Accuracies of both sides less what they should be, where a seed decides part of them."""
    shared_DN = rng.standard_normal((draws, repeats))
    own = rng.standard_normal((2, draws, repeats))
    parts = math.sqrt(correlation) * shared_DN + math.sqrt(1 - correlation) * own
    return ACCURACY_SD * parts[0], ACCURACY_SD * parts[1]


def share_non_inferior(
    repeats: int,
    *,
    loss: float,
    margin: float,
    draws: int,
    correlation: float = 0.0,
    paired: bool = True,
    seed: int = 0,
) -> float:
    """Share of comparisons whose one-sided 95 % lower bound of new less base lies above -margin."""
    rng = np.random.default_rng([seed, repeats])
    base_DN, new_DN = accuracy_pairs(rng, draws, repeats, correlation)
    compare = Shift.paired if paired else Shift.independent
    lows = [
        compare(base_N, new_N - loss).interval(2 * CONFIDENCE - 1).low
        for base_N, new_N in zip(base_DN, new_DN, strict=True)
    ]
    return sum(low > -margin for low in lows) / draws


def share_non_inferior_counted(
    kind: str,
    repeats: int,
    *,
    images: int,
    margin_images: float,
    loss: float,
    draws: int,
    least_sd: float = 0.5,
    seed: int = 0,
) -> float:
    """The same where accuracies are numbers of images, which are often equal.

    Args:
        kind: of `COUNTS`.
        repeats: a side.
        images: of the test set.
        margin_images: the margin.
        loss: what is truly lost, in margins.
        draws: how many comparisons.
        least_sd: what differences are taken to vary at least, in images.
        seed: of the noise.
    """
    rng = np.random.default_rng([seed, repeats, images])
    base_DN, new_DN = COUNTS[kind](rng, (draws, repeats), images, loss * margin_images)
    lows = (
        Shift.paired(base_N, new_N, least_sd=least_sd).interval(2 * CONFIDENCE - 1).low
        for base_N, new_N in zip(base_DN, new_DN, strict=True)
    )
    return sum(low > -margin_images for low in lows) / draws


def binomial(
    rng: Rng, shape: tuple[int, ...], images: int, loss_images: float
) -> tuple[Values, Values]:
    """Every image is right by a chance of its own training, about 99 in 100."""
    right = (0.99, 0.99 - loss_images / images)
    base_DN, new_DN = (rng.binomial(images, each, shape).astype(np.float64) for each in right)
    return base_DN, new_DN


def neighbours(
    rng: Rng, shape: tuple[int, ...], images: int, loss_images: float
) -> tuple[Values, Values]:
    """Nothing varies but one image, which makes up for what of the loss is no whole number."""
    whole, part = divmod(loss_images, 1)
    lost_DN = whole + (rng.random(shape) < part)
    return np.full(shape, images - 4.0), images - 4.0 - lost_DN


Counts = Callable[[Rng, tuple[int, ...], int, float], tuple[Values, Values]]
COUNTS: dict[str, Counts] = {"binomial": binomial, "one image": neighbours}
