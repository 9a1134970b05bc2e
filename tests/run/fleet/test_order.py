"""The order of a fleet run: everything once, devices and cases mixed, the same after a stop."""

from __future__ import annotations

from collections import Counter

import pytest

from cnnperf.run.fleet.order import draw_order

DEVICES = [f"gpu{number}" for number in range(8)]
CASES = ["vgg", "resnet", "digits"]


@pytest.mark.parametrize("together", [False, True])
def test_every_training_takes_place_once(together: bool) -> None:
    """Alone, one device trains at a time; together, all of them the same case."""
    steps = draw_order(DEVICES, CASES, 5, seed="0 node7", together=together)
    every = Counter((each.device, each.case_id, each.index) for step in steps for each in step)
    assert set(every.values()) == {1}
    assert len(every) == 8 * 3 * 5
    assert {len(step) for step in steps} == {8 if together else 1}
    assert all(len({(each.case_id, each.index) for each in step}) == 1 for step in steps)


def test_a_round_has_one_repeat_of_everything() -> None:
    """So that no device has all of its repeats early and another all of them late."""
    trainings = [s[0] for s in draw_order(DEVICES, CASES, 5, seed="0", together=False)]
    for index in range(5):
        part = trainings[index * 24 : (index + 1) * 24]
        assert {each.index for each in part} == {index}


def test_time_and_place_do_not_mix() -> None:
    """Over many rounds each device is early as often as late: mean position 3.5 of 0..7."""
    steps = draw_order(DEVICES, ["vgg"], 2000, seed="0", together=False)
    positions: dict[str, list[int]] = {name: [] for name in DEVICES}
    for number, (training,) in enumerate(steps):
        positions[training.device].append(number % 8)
    for found in positions.values():
        assert sum(found) / len(found) == pytest.approx(3.5, abs=0.25)  # 5 standard errors


def test_a_resumed_run_draws_the_same_order() -> None:
    """And another node or seed another one."""
    drawn = [draw_order(DEVICES, CASES, 3, seed=s, together=False) for s in ("0 a", "0 a", "1 a")]
    assert drawn[0] == drawn[1] != drawn[2]
