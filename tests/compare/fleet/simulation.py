"""How often the judge of fleets is wrong, on simulated fleets, beside two rules in use.

    python -m tests.compare.fleet.simulation            # the table of docs/fleets.md, some minutes

A fleet has nodes of eight devices. Healthy devices differ by a normal spread, trainings of one
device by another. A hundredth of the devices is slow. Everyone judges the same draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cnnperf.compare.fleet.judge import FleetRules, group_of, judge_groups
from cnnperf.compare.fleet.population import Floats

SLOW_SHARE = 0.01
NODE = 8


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A fleet; spreads are standard deviations in percent."""

    devices: int = 1000
    repeats: int = 5
    between: float = 2.0
    within: float = 0.3
    slowdown: float = 5.0
    """Percent by which a slow device is slower than it would be."""
    drift: float = 0.0
    """Spread of what all devices share at a moment, such as the temperature of the room."""
    bad_nodes: int = 0
    """Nodes whose devices are all slow, beside single slow ones."""


class Draw(NamedTuple):
    """One fleet."""

    logs: Floats
    """Logarithms of speeds (devices, repeats)."""
    is_slow: np.ndarray[tuple[int], np.dtype[np.bool_]]


def draw(scenario: Scenario, rng: np.random.Generator) -> Draw:
    """Draw a fleet; each repeat of each device has its own moment."""
    shape = (scenario.devices, scenario.repeats)
    effects = rng.normal(0, scenario.between / 100, scenario.devices)
    is_slow = np.zeros(scenario.devices, dtype=bool)
    count = max(1, round(SLOW_SHARE * scenario.devices))
    is_slow[rng.choice(scenario.devices, count, replace=False)] = True
    for node in rng.choice(scenario.devices // NODE, scenario.bad_nodes, replace=False):
        is_slow[node * NODE : (node + 1) * NODE] = True
    effects[is_slow] += np.log1p(-scenario.slowdown / 100)
    moments = rng.normal(0, scenario.drift / 100, 50) if scenario.drift else np.zeros(50)
    noise = rng.normal(0, scenario.within / 100, shape) + moments[rng.integers(0, 50, shape)]
    return Draw(effects[:, None] + noise, is_slow)


Judge = Callable[[Floats], "np.ndarray[tuple[int], np.dtype[np.bool_]]"]
"""Returns which devices it calls slow."""


def ours(logs: Floats) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """The verdict of `cnnperf fleet judge`."""
    names = [str(number) for number in range(len(logs))]
    group = group_of("case", [(name, list(row)) for name, row in zip(names, logs, strict=True)])
    (figures,) = judge_groups([group], FleetRules())
    return np.array([figure.verdict == "slow" for figure in figures])


def five_percent(logs: Floats) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """SuperBench's rule: 5 % below a mean from which violators are dropped until none is left."""
    means = np.exp(logs).mean(axis=1)
    kept = np.ones(len(means), dtype=bool)
    while True:
        violates = means < 0.95 * means[kept].mean()
        if (kept == ~violates).all():
            return violates
        kept = ~violates


def three_sigma(logs: Floats) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """A z-score below -3, by the mean and standard deviation of all devices."""
    means = logs.mean(axis=1)
    found: np.ndarray[tuple[int], np.dtype[np.bool_]] = means - means.mean() < -3 * means.std(
        ddof=1
    )
    return found


JUDGES: dict[str, Judge] = {"cnnperf": ours, "5 %": five_percent, "z < -3": three_sigma}


class Rates(NamedTuple):
    """What a judge got right and wrong, in percent."""

    found: float
    """Of the slow devices."""
    false_alarms: float
    """Of the healthy devices."""
    false_discoveries: float
    """Of those called slow, that were healthy; 0 where none was."""


def rates(scenario: Scenario, fleets: int, seed: int = 0) -> dict[str, Rates]:
    """Judge so many fleets of a scenario by every rule."""
    rng = np.random.default_rng(seed)
    counts = {name: np.zeros(4) for name in JUDGES}
    shares: dict[str, list[float]] = {name: [] for name in JUDGES}
    for _ in range(fleets):
        logs, is_slow = draw(scenario, rng)
        for name, judge in JUDGES.items():
            called = judge(logs)
            hits, alarms = int((called & is_slow).sum()), int((called & ~is_slow).sum())
            counts[name] += [hits, is_slow.sum(), alarms, (~is_slow).sum()]
            shares[name].append(alarms / max(1, hits + alarms))
    return {
        name: Rates(100 * hits / slow, 100 * alarms / healthy, 100 * float(np.mean(shares[name])))
        for name, (hits, slow, alarms, healthy) in counts.items()
    }


def scenarios() -> Iterable[tuple[str, Scenario]]:
    """The rows of the table."""
    for between, within in ((0.3, 0.3), (1.0, 0.3), (1.0, 2.0), (2.0, 0.3), (4.0, 2.0), (8.0, 2.0)):
        for slowdown in (1.0, 2.0, 3.0, 5.0, 10.0):
            name = f"{between:g} % between, {within:g} % within"
            yield name, Scenario(between=between, within=within, slowdown=slowdown)
    for slowdown in (3.0, 5.0):
        yield (
            "1 % between, 0.3 % within, 1 % drift",
            Scenario(between=1.0, drift=1.0, slowdown=slowdown),
        )
        yield (
            "1 % between, 0.3 % within, 30 of 125 nodes bad",
            Scenario(between=1.0, bad_nodes=30, slowdown=slowdown),
        )


def main() -> None:
    """Print the table in Markdown."""
    heads = [f"{name}: {what}" for name in JUDGES for what in ("found", "false alarms")]
    print("| spread | slower by |", " | ".join(heads), "|")  # noqa: T201
    print("| --- |" + " --- |" * (1 + len(heads)))  # noqa: T201
    for name, scenario in scenarios():
        found = rates(scenario, 20)
        cells = [f"{each.found:.0f} % | {each.false_alarms:.2f} %" for each in found.values()]
        print(f"| {name} | {scenario.slowdown:g} % |", " | ".join(cells), "|")  # noqa: T201


if __name__ == "__main__":
    main()
