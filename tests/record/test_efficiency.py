"""Efficiency of several devices, and what their time goes to."""

from __future__ import annotations

import pytest

from cnnperf.catalog.specs import Case
from cnnperf.record.efficiency import add_efficiency
from cnnperf.record.group import Group, RankTimes
from cnnperf.record.schema import CaseRecord
from tests.compare.judging import compared
from tests.examples import example_case, example_case_record, example_repeat


def on_devices(devices: int | None, rates: list[float], **changes: object) -> CaseRecord:
    """A case on so many devices, with these images per second for the seeds 0, 1, ..."""
    case = example_case().model_copy(update={"devices": devices, **changes})
    assert isinstance(case, Case)
    repeats = [example_repeat(seed=seed, images_per_second=rate) for seed, rate in enumerate(rates)]
    return example_case_record(case, repeats=repeats, devices=case.devices, scaling=case.scaling)


def test_efficiency_pairs_trainings_of_one_seed() -> None:
    """1,800 images/s on two devices, for 1,000 on one, are 90 %; the third has no partner."""
    one, two = on_devices(1, [1000.0, 1100.0]), on_devices(2, [1800.0, 1650.0, 2000.0])
    weak = on_devices(4, [3600.0], scaling="weak")
    add_efficiency([two, one, weak])
    found = [repeat.metrics.scaling_efficiency for repeat in two.repeats]
    assert found[:2] == pytest.approx([0.9, 0.75])
    assert found[2] is None
    assert weak.values("scaling_efficiency") == pytest.approx([0.9])
    assert one.values("scaling_efficiency") == []


def test_another_precision_is_no_pair() -> None:
    """`auto` may choose by repeat; two devices in bfloat16 say nothing about one in float32."""
    one, two = on_devices(1, [1000.0, 1000.0]), on_devices(2, [1800.0, 1700.0])
    two.repeats[0] = two.repeats[0].model_copy(update={"precision": "bfloat16"})
    add_efficiency([one, two])
    assert two.values("scaling_efficiency") == pytest.approx([0.85])


@pytest.mark.parametrize("other", [{"engine": "fast"}, {"resolution": 32}, {"suite": "scaling"}])
def test_another_training_is_no_reference(other: dict[str, object]) -> None:
    """Nor is one device outside of a group, which has all cores of a CPU."""
    two = on_devices(2, [1800.0])
    add_efficiency([on_devices(1, [1000.0], **other), on_devices(None, [1000.0]), two])
    assert two.values("scaling_efficiency") == []


def ranks(*computes: float, waits: float = 0.0) -> list[RankTimes]:
    """Ranks that compute so many seconds a step, and wait such a share for data."""
    return [
        RankTimes(rank=rank, device="cpu", compute_seconds_per_step=each, data_wait_fraction=waits)
        for rank, each in enumerate(computes)
    ]


def test_shares_of_a_step_add_up() -> None:
    """Of 100 ms, the mean rank computes 70 and the slowest 80, so messages take 20 more."""
    group = Group(devices=4, step_seconds=0.1, ranks=ranks(0.06, 0.07, 0.08, 0.07))
    assert group.shares == pytest.approx(
        {"compute": 0.7, "slowest_rank": 0.1, "communication": 0.2, "data": 0.0}
    )
    waiting = Group(devices=4, step_seconds=0.1, ranks=ranks(0.06, 0.07, 0.08, 0.07, waits=0.5))
    assert waiting.shares == pytest.approx(
        {"compute": 0.35, "slowest_rank": 0.05, "communication": 0.1, "data": 0.5}
    )
    hidden = Group(devices=2, step_seconds=0.07, ranks=ranks(0.06, 0.08))
    assert hidden.shares["communication"] == 0
    assert sum(hidden.shares.values()) == pytest.approx(1)


def test_straggler_computes_longer_than_the_median_rank() -> None:
    """By more than 5 %."""
    slow = Group(devices=4, ranks=ranks(0.1, 0.12, 0.1, 0.1)).straggler
    assert slow is not None
    assert slow.rank == 1
    assert Group(devices=4, ranks=ranks(0.1, 0.104, 0.1, 0.1)).straggler is None
    assert Group(devices=1, ranks=ranks(0.1)).straggler is None
    assert Group(devices=2).shares == {}


def test_lost_efficiency_fails_a_comparison() -> None:
    """Two devices are as fast as before, but one is faster: what they gain together is less."""
    sides = []
    for one in (1000.0, 1100.0):
        cases = [
            on_devices(1, [one, 1.01 * one, 0.99 * one]),
            on_devices(2, [1800.0, 1818.0, 1782.0]),
        ]
        add_efficiency(cases)
        sides.append(cases)
    comparison = compared(*sides)
    found = {
        (case.id, name): verdict.verdict
        for case in comparison.cases
        for name, verdict in case.metrics.items()
    }
    two = "modified_vgg-mnist-28-eager-2devices"
    assert found[two, "scaling_efficiency"] == "worse"
    assert found[two, "images_per_second"] == "same"
    assert comparison.exit_code == 1
