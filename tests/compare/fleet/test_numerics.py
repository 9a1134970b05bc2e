"""Devices that compute wrongly, by the losses and weights of short deterministic trainings."""

from __future__ import annotations

from cnnperf.compare.fleet.judge import judge_fleet
from cnnperf.compare.fleet.verdicts import Fleet, JudgedDevice
from cnnperf.record.numerics import NumericsTraining
from cnnperf.record.schema import Record
from tests.compare.fleet.fleets import devices_of, fleet_of

RIGHT = ([2.5, 2.25], "a")
CASE = "modified_vgg-mnist-28-eager, seed 0: "


def judged(records: dict[str, Record]) -> Fleet:
    """The verdicts on some records."""
    return judge_fleet(devices_of(records))


def of_verdict(fleet: Fleet, verdict: str) -> list[JudgedDevice]:
    """Devices with a verdict, worst first."""
    return [each for each in fleet.devices if each.verdict == verdict]


def with_losses(record: Record, losses: list[float]) -> Record:
    """The record of a deterministic training with these losses."""
    case = record.cases[0]
    settings = case.repeats[0].settings
    assert settings is not None
    repeats = [
        repeat.model_copy(
            update={
                "step_losses": losses,
                "settings": settings.model_copy(update={"deterministic_algorithms": True}),
            }
        )
        for repeat in case.repeats
    ]
    return record.model_copy(update={"cases": [case.model_copy(update={"repeats": repeats})]})


def test_the_minority_with_other_losses_computes_wrongly() -> None:
    """One flipped bit in one loss is enough; the first step that differs is named."""
    right = [2.5, 2.25, 2.125]
    flipped = [2.5, 2.2500000000000004, 2.125]
    records = {name: with_losses(record, right) for name, record in fleet_of(10).items()}
    records["node0-gpu7"] = with_losses(records["node0-gpu7"], flipped)
    fleet = judged(records)
    (wrong,) = of_verdict(fleet, "wrong")
    assert wrong.name == "node0-gpu7"
    assert wrong.reason == (
        f"{CASE}unlike on 9 of 10 devices, the loss of step 2 is 2.2500000000000004 instead of 2.25"
    )
    assert fleet.exit_code == 1


def test_two_that_differ_do_not_tell_who_is_wrong() -> None:
    """Three votes are needed, and a majority."""
    two = {name: with_losses(record, [1.0]) for name, record in fleet_of(2).items()}
    two["node0-gpu1"] = with_losses(two["node0-gpu1"], [2.0])
    assert of_verdict(judged(two), "wrong") == []


def with_check(record: Record, *trainings: tuple[list[float], str]) -> Record:
    """The record of a device with these short trainings: losses and weights of each."""
    numerics = [
        NumericsTraining(seed=0, step_losses=losses, weights_sha256=weights)
        for losses, weights in trainings
    ]
    case = record.cases[0].model_copy(update={"numerics": numerics})
    return record.model_copy(update={"cases": [case]})


def test_equal_losses_and_other_weights_are_wrong() -> None:
    """A bit that flips in the last step is in no loss."""
    records = {name: with_check(each, RIGHT, RIGHT) for name, each in fleet_of(10).items()}
    other = ([2.5, 2.25], "b")
    records["node0-gpu7"] = with_check(records["node0-gpu7"], other, other)
    (wrong,) = of_verdict(judged(records), "wrong")
    assert wrong.name == "node0-gpu7"
    assert wrong.reason == (
        f"{CASE}unlike on 9 of 10 devices, all 2 losses are equal and the final weights are not, "
        "in both trainings: a lasting fault"
    )


def test_device_that_contradicts_itself_is_wrong_without_peers() -> None:
    """No majority is needed to see that; which training is right stays open."""
    one = {"a": with_check(fleet_of(1)["node0-gpu0"], RIGHT, ([2.5, 2.0], "b"))}
    (wrong,) = of_verdict(judged(one), "wrong")
    assert wrong.reason == (
        f"{CASE}two equal trainings differ on this device, the loss of step 2 is 2.0 instead of "
        "2.25: a passing fault"
    )


def test_case_that_is_deterministic_nowhere_accuses_nobody() -> None:
    """It is then not the devices; a note says so."""
    records = {
        name: with_check(each, RIGHT, ([2.5, 2.0 + number], "b"))
        for number, (name, each) in enumerate(fleet_of(6).items())
    }
    fleet = judged(records)
    assert of_verdict(fleet, "wrong") == []
    assert fleet.notes == (
        f"{CASE}on 6 of 6 devices two equal trainings differ, so the case is not deterministic "
        "there and tells nothing of the devices",
    )


def test_other_instructions_of_the_host_are_no_fault() -> None:
    """They draw other first weights: such devices are compared with each other only."""
    records = {name: with_check(each, RIGHT, RIGHT) for name, each in fleet_of(10).items()}
    for name in ("node0-gpu6", "node0-gpu7"):
        changed = with_check(records[name], ([2.4], "c"), ([2.4], "c"))
        hardware = changed.environment.hardware.model_copy(update={"cpu_flags": ("avx2",)})
        environment = changed.environment.model_copy(update={"hardware": hardware})
        records[name] = changed.model_copy(update={"environment": environment})
    assert of_verdict(judged(records), "wrong") == []
