"""One device against a fleet of others: which share of them is slower?"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from cnnperf.compare.fleet.devices import FleetDevice
from cnnperf.compare.fleet.judge import FleetRules, groups_of
from cnnperf.compare.fleet.population import Group
from cnnperf.compare.fleet.verdicts import CONFIDENCE
from cnnperf.compare.verdicts import Model
from cnnperf.errors import UsageError


class Placement(Model):
    """One case of a device among the devices of a reference."""

    case: str
    metric: str
    n: int
    """Trainings of the device."""
    devices: int
    """Devices of the reference of the same kind."""
    value: float
    ratio: float
    """Of its speed to the median of the reference."""
    percentile: float
    """Percent of the reference's devices that are slower."""
    low: float
    """End of the 95 % interval of the percentile; so is `high`."""
    high: float


def place_device(
    device: FleetDevice, reference: Sequence[FleetDevice], rules: FleetRules | None = None
) -> list[Placement]:
    """Place every case of a device.

    Raises:
        UsageError: the reference has too few devices of this kind that trained one of its cases.
    """
    rules = rules or FleetRules()
    groups, _ = groups_of([device, *reference], rules)
    found = [_placed(group, rules) for group in groups if group.names[0] == device.name]
    if not found:
        raise UsageError(
            f"{device.name}: the reference has fewer than four devices of this kind that trained "
            "one of its cases: GPU, torch, recipe and data must be equal"
        )
    return found


def _placed(group: Group, rules: FleetRules) -> Placement:
    own, others = float(group.means_D[0]), group.means_D[1:]
    # Both the device's noise and the number of devices: each interval takes half of the error.
    confidence = (1 + CONFIDENCE) / 2
    width = float(stats.t.isf((1 - confidence) / 2, group.freedoms_D[0]) * group.errors_D[0])
    slower = [int((others < own + shift).sum()) for shift in (-width, 0.0, width)]
    low = stats.binomtest(slower[0], len(others)).proportion_ci(confidence).low
    high = stats.binomtest(slower[2], len(others)).proportion_ci(confidence).high
    return Placement(
        case=group.case_id,
        metric=rules.metric,
        n=int(group.counts_D[0]),
        devices=len(others),
        value=rules.shown(own),
        ratio=math.exp(own - float(np.median(others))),
        percentile=100 * slower[1] / len(others),
        low=100 * low,
        high=100 * high,
    )
