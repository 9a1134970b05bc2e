"""Devices that compute wrongly: their losses differ from those of equal devices.

Deterministic trainings of one case with one seed on equal devices and software have equal losses,
to the last bit. Where they do not, the minority is wrong. `pytest benchmarks --cnnperf-
deterministic` keeps the loss of every step.
"""

from __future__ import annotations

from collections.abc import Sequence

from cnnperf.compare.drift import drift, losses_by_seed
from cnnperf.compare.fleet.devices import FleetDevice

MIN_VOTES = 3
"""Two devices that differ do not tell which of them is wrong."""


def find_wrong(devices: Sequence[FleetDevice]) -> dict[str, str]:
    """Return the devices whose losses differ from those of most peers, each with the first step."""
    trained: dict[tuple[object, ...], dict[str, list[float]]] = {}
    for device in devices:
        for case in device.record.cases:
            for seed, losses in losses_by_seed(case).items():
                key = (case.id, seed, *device.stack(case))
                trained.setdefault(key, {})[device.name] = losses
    wrong: dict[str, str] = {}
    for key, members in trained.items():
        usual = _majority(list(members.values()))
        if usual is None:
            continue
        for name, losses in members.items():
            found = drift(0, usual, losses)
            if found.first_difference_step is not None and name not in wrong:
                same = sum(each == usual for each in members.values())
                wrong[name] = (
                    f"{key[0]}, seed {key[1]}: the loss of step {found.first_difference_step} is "
                    f"{found.new_loss!r}, {found.base_loss!r} on {same} of {len(members)} devices"
                )
    return wrong


def _majority(losses: list[list[float]]) -> list[float] | None:
    """Return the losses that more than half of the devices have; None where there are none."""
    if len(losses) < MIN_VOTES:
        return None
    counts: dict[tuple[float, ...], int] = {}
    for each in losses:
        counts[tuple(each)] = counts.get(tuple(each), 0) + 1
    best = max(counts, key=lambda each: counts[each])
    return list(best) if counts[best] > len(losses) / 2 else None
