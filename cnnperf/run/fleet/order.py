"""The order of the trainings: drawn at random, so that time and place do not mix.

If devices were trained one after another, the time of day would look like a difference between
them. Each round has one repeat of every case on every device of a node.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Training:
    """One repeat of a case on a device."""

    device: str
    case_id: str
    index: int
    """Number of the repeat, from 0."""


Step = tuple[Training, ...]
"""Trainings of a node that take place at the same time."""


def draw_order(
    devices: Sequence[str], case_ids: Sequence[str], repeats: int, *, seed: str, together: bool
) -> list[Step]:
    """Return the steps of one node.

    Args:
        devices: the devices of the node.
        case_ids: the cases, which change places in each round too.
        repeats: number of rounds.
        seed: the same text draws the same order, such as in a resumed run.
        together: whether all devices train a case at once, instead of one after another.
    """
    draw = random.Random(seed)
    steps: list[Step] = []
    for index in range(repeats):
        for case_id in draw.sample(list(case_ids), len(case_ids)):
            drawn = draw.sample(list(devices), len(devices))
            one = [Training(device=each, case_id=case_id, index=index) for each in drawn]
            steps += [tuple(one)] if together else [(each,) for each in one]
    return steps
