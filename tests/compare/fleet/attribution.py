"""Which estimate of a host's effect blames the right one: the host, or its card?

    python -m tests.compare.fleet.attribution           # a table in Markdown, seconds

Fleets of 125 hosts with 8 cards. Healthy hosts differ by 0.2 % and cards by 1 % (standard
deviations). One host in ten is bad: all cards are 5 % slower, or one of its cards is 10 % slower.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from cnnperf.compare.fleet.population import Floats

HOSTS, CARDS = 125, 8
BETWEEN_HOSTS, BETWEEN_CARDS = 0.002, 0.01
BAD_HOST, BAD_CARD = -0.05, -0.10

Judge = Callable[[Floats], Floats]
"""Returns the effects of hosts (H) from those of devices (H, cards)."""


def median(effects_HC: Floats) -> Floats:
    """What cnnperf does."""
    found: Floats = np.median(effects_HC, axis=1)
    return found


def mean(effects_HC: Floats) -> Floats:
    """The estimate of a two-way analysis of variance."""
    found: Floats = effects_HC.mean(axis=1)
    return found


def shrunken(effects_HC: Floats) -> Floats:
    """A random effect: the mean times the share of hosts in its variance, by robust estimates."""
    means_H = effects_HC.mean(axis=1)
    within = float(np.median(effects_HC.var(axis=1, ddof=1))) / CARDS
    total = float((1.4826 * np.median(np.abs(means_H - np.median(means_H)))) ** 2)
    return means_H * max(0.0, total - within) / total


JUDGES: dict[str, Judge] = {"median": median, "mean": mean, "shrunken": shrunken}


class Rates(NamedTuple):
    """Root mean square errors of the effects of hosts, in percent."""

    healthy_error_percent: float
    host_error_percent: float
    """Where the host is bad."""
    card_error_percent: float
    """Where one of its cards is bad, and the host is not."""


def rates(judge: Judge, fleets: int, seed: int = 0) -> Rates:
    """Judge so many fleets."""
    rng = np.random.default_rng(seed)
    squares: list[Floats] = []
    for _ in range(fleets):
        truth_H = rng.normal(0, BETWEEN_HOSTS, HOSTS)
        kinds_H = rng.permutation(np.arange(HOSTS) % 20)
        truth_H[kinds_H == 0] += BAD_HOST
        effects_HC = truth_H[:, None] + rng.normal(0, BETWEEN_CARDS, (HOSTS, CARDS))
        effects_HC[kinds_H == 1, 0] += BAD_CARD
        squared_H = (judge(effects_HC) - truth_H) ** 2
        parts = (kinds_H > 1, kinds_H == 0, kinds_H == 1)
        squares.append(np.array([squared_H[part].mean() for part in parts]))
    return Rates(*(100 * np.sqrt(np.mean(squares, axis=0))))


def main() -> None:
    """Print the table in Markdown."""
    print("| estimate | healthy host | bad host | host with a bad card |")  # noqa: T201
    print("| --- | --- | --- | --- |")  # noqa: T201
    for name, judge in JUDGES.items():
        cells = " | ".join(f"{each:.2f} %" for each in rates(judge, 200))
        print(f"| {name} | {cells} |")  # noqa: T201


if __name__ == "__main__":
    main()
