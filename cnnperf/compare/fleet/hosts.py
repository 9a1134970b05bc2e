"""The host's part and the card's own part of a difference, estimated apart.

A device lies off its peers because its host does (memory, cooling, PCIe switch, power), or because
the card itself does. The host's effect is the median of its cards' effects; the card's own is what
is left. A median and not a mean, so that one bad card does not make its host look slow; and not
shrunken towards 0 as random effects are, because healthy hosts hardly differ, and shrinking by
their spread would take most of a bad host's effect away and blame its cards
(`python -m tests.compare.fleet.attribution`).

Shapes: D devices, H hosts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from scipy import stats

from cnnperf.compare.fleet.population import (
    FREEDOM_PER_DEVICE,
    MIN_DEVICES,
    Floats,
    Group,
    Population,
    describe_population,
)
from cnnperf.compare.fleet.verdicts import CardRatio, Figure

MIN_CARDS = 3
"""Of two cards that differ, neither tells which of them is as its host is."""


def host_group(group: Group, hosts: Mapping[str, str]) -> Group | None:
    """Return the hosts of a group as its devices; None where no host has `MIN_CARDS` cards.

    `hosts` has the host of each device. The centre is the one of the devices, so that the effects
    of host and card add up to the device's.
    """
    members = _members(group, hosts)
    if not members:
        return None
    counts_H = np.array([len(places) for places in members.values()], dtype=float)
    means_H = np.array([np.median(group.means_D[places]) for places in members.values()])
    errors_H = np.sqrt(_card_variance(group, list(members.values())) * _median_share(counts_H))
    if len(members) >= MIN_DEVICES:
        population = describe_population(means_H, errors_H)
        population = replace(population, centre=group.population.centre)
    else:  # too few hosts to tell what hosts differ by
        population = Population(
            centre=group.population.centre, between_sd=math.inf, healthy=len(members)
        )
    freedom = max(1.0, FREEDOM_PER_DEVICE * float(np.sum(counts_H - 1)))
    return Group(
        case_id=group.case_id,
        names=tuple(members),
        counts_D=counts_H,
        means_D=means_H,
        errors_D=errors_H,
        freedoms_D=np.full(len(members), freedom),
        population=population,
    )


def with_card_ratios(
    group: Group, by_host: Group, hosts: Mapping[str, str], figures: Sequence[Figure]
) -> list[Figure]:
    """Return the figures of a group, each with what is left of its ratio without its host's.

    The interval has the noise of both the device and the median of the host's cards.
    """
    places = {name: place for place, name in enumerate(by_host.names)}
    found = []
    for place, (name, figure) in enumerate(zip(group.names, figures, strict=True)):
        at = places.get(hosts.get(name, ""))
        if at is not None:
            effect = float(group.means_D[place] - by_host.means_D[at])
            width = math.hypot(by_host.half_widths[at], group.half_widths[place])
            low, high = math.exp(effect - width), math.exp(effect + width)
            card = CardRatio(ratio=math.exp(effect), low=low, high=high)
            figure = figure.model_copy(update={"card": card})
        found.append(figure)
    return found


def _members(group: Group, hosts: Mapping[str, str]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for place, name in enumerate(group.names):
        if name in hosts:
            found.setdefault(hosts[name], []).append(place)
    return {host: places for host, places in found.items() if len(places) >= MIN_CARDS}


def _card_variance(group: Group, members: Sequence[Sequence[int]]) -> float:
    """Return the variance between healthy cards of one host, noise included.

    It is the median over the hosts, each scaled as the median of its chi-squared law, so that half
    of the hosts may have a bad card.
    """
    scaled = [
        (len(places) - 1) * group.means_D[places].var(ddof=1) / stats.chi2.median(len(places) - 1)
        for places in members
    ]
    return float(np.median(scaled))


def _median_share(counts_H: Floats) -> Floats:
    """Return the variance of a median of n normal values, as a share of the variance of one.

    A formula between pi / 2n of many values and 0.45 of three, at most 2 % too small; for even n it
    is up to a sixth too large (tests/compare/fleet/test_hosts.py draws medians).
    """
    return np.pi / (2 * counts_H + np.pi - 2)
