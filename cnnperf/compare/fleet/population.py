"""The healthy devices of a fleet, and how far each device lies from them.

All figures are logarithms of a rate, so that a difference is a ratio. Shapes: D devices.

The centre and the spread of the healthy devices are the reweighted minimum covariance determinant
in one dimension (Rousseeuw and Van Driessen 1999): the 70 % of the devices that lie closest
together, scaled as for normal data. Up to 30 % of the devices may be bad, in any way, without
moving it far; a mean and a standard deviation would be moved by one. The noise of a training is
estimated for each device and shrunk towards that of all (the moderated variance of Smyth 2004),
because five repeats tell little about a standard deviation, and a thousand times five tell much.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from cnnperf.compare.fleet.verdicts import CONFIDENCE

Floats = npt.NDArray[np.float64]

COVERAGE = 0.7
"""Share of the devices that are taken for healthy at first."""

CUT = 0.975
"""Share of healthy devices that the second step keeps."""

FREEDOM_PER_DEVICE = 0.4
"""A spread of chosen devices is known less well than one of devices drawn at random. With this
share, found by simulation, 1 to 5 % of the healthy fleets of 8 to 1,000 devices have an alarm
(docs/fleets.md); with all of them, one in ten fleets of 40 has."""

MIN_DEVICES = 5
"""With fewer, the spread between healthy devices is a guess."""

FEW_REPEATS = 2
"""A device with fewer repeats has no noise of its own; it gets that of all."""


@dataclass(frozen=True, kw_only=True)
class Population:
    """Healthy devices: normal around `centre`."""

    centre: float
    between_sd: float
    """Standard deviation between healthy devices, without the noise of their trainings."""
    healthy: int
    """Number of devices that it rests on."""

    @property
    def freedom(self) -> float:
        """Degrees of freedom of the spread."""
        return max(1.0, FREEDOM_PER_DEVICE * self.healthy)


@dataclass(frozen=True, kw_only=True)
class Group:
    """Devices of one kind with the same case; arrays have one entry a device."""

    case_id: str
    names: tuple[str, ...]
    counts_D: Floats
    means_D: Floats
    errors_D: Floats
    freedoms_D: Floats
    population: Population

    @cached_property
    def effects(self) -> Floats:
        """Differences from the centre (D); below 0 is slower."""
        return self.means_D - self.population.centre

    @cached_property
    def half_widths(self) -> Floats:
        """Half of the 95 % interval of each mean, by the noise of its trainings."""
        found: Floats = stats.t.isf((1 - CONFIDENCE) / 2, self.freedoms_D) * self.errors_D
        return found


def describe_population(means_D: Floats, errors_D: Floats) -> Population:
    """Return the healthy devices among some.

    Args:
        means_D: mean of each device's repeats.
        errors_D: standard error of each mean.
    """
    centre, variance = _closest_part(means_D)
    kept_D = np.abs(means_D - centre) <= np.sqrt(variance * stats.chi2.ppf(CUT, 1))
    if kept_D.sum() > 1:
        centre = float(means_D[kept_D].mean())
        variance = float(means_D[kept_D].var(ddof=1)) * _consistency(CUT)
    noise = float(np.median(errors_D**2))
    between_sd = float(np.sqrt(max(0.0, variance - noise)))
    return Population(centre=centre, between_sd=between_sd, healthy=int(kept_D.sum()))


def _closest_part(values_D: Floats) -> tuple[float, float]:
    """Return mean and variance of the part of the values that lies closest together."""
    ordered = np.sort(values_D)
    size = max(2, int(np.ceil(COVERAGE * len(ordered))))
    shifted = ordered - ordered[len(ordered) // 2]  # sums of squares lose digits far from 0
    sums = np.concatenate([[0.0], np.cumsum(shifted)])
    squares = np.concatenate([[0.0], np.cumsum(shifted**2)])
    means = (sums[size:] - sums[:-size]) / size
    variances = (squares[size:] - squares[:-size]) / size - means**2
    best = int(np.argmin(variances))
    mean = float(means[best] + ordered[len(ordered) // 2])
    return mean, max(0.0, float(variances[best])) * _consistency(size / len(ordered))


def _consistency(share: float) -> float:
    """Return the factor by which the variance of the middle of a normal sample is too small."""
    if share >= 1:
        return 1.0
    return float(share / stats.chi2.cdf(stats.chi2.ppf(share, 1), 3))


def moderated_variances(variances_D: Floats, freedoms_D: Floats) -> tuple[Floats, Floats]:
    """Shrink each device's variance towards that of all, and return it with its freedom.

    The prior is fitted by medians, so that devices with a noise of their own do not widen it.
    """
    known_D = (freedoms_D > 0) & (variances_D > 0)
    if known_D.sum() < FEW_REPEATS:
        return variances_D, np.maximum(freedoms_D, 1.0)
    half_D = freedoms_D[known_D] / 2
    # The expectation and variance of the logarithm of a chi-squared variable.
    logs = np.log(variances_D[known_D]) - special.digamma(half_D) + np.log(half_D)
    location = float(np.median(logs))
    spread = stats.median_abs_deviation(logs, scale="normal") ** 2
    excess = float(spread - np.mean(special.polygamma(1, half_D)))
    prior_freedom = 2 * _inverse_trigamma(excess) if excess > 0 else 1e6
    prior = np.exp(location + special.digamma(prior_freedom / 2) - np.log(prior_freedom / 2))
    freedom_D = freedoms_D + prior_freedom
    own_D = np.where(freedoms_D > 0, variances_D, 0.0)
    return (freedoms_D * own_D + prior_freedom * prior) / freedom_D, freedom_D


def _inverse_trigamma(value: float) -> float:
    """Return x with trigamma(x) = value, by Newton's steps as in Smyth 2004, appendix."""
    guess = 0.5 + 1 / value
    for _ in range(50):
        trigamma = float(special.polygamma(1, guess))
        step = trigamma * (1 - trigamma / value) / float(special.polygamma(2, guess))
        guess += step
        if abs(step) < 1e-8 * guess:
            break
    return guess


def slow_p_values(effects_D: Floats, errors_D: Floats, population: Population) -> Floats:
    """Return the chance that a healthy device looks as slow as each does.

    `effects_D` are differences from the centre; below 0 is slower.
    """
    scale_D = np.sqrt(population.between_sd**2 + errors_D**2)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio_D = np.where(scale_D > 0, effects_D / scale_D, np.sign(effects_D) * np.inf)
    chances_D: Floats = stats.t.cdf(
        np.nan_to_num(ratio_D, nan=0.0, posinf=1e9, neginf=-1e9), population.freedom
    )
    return chances_D
