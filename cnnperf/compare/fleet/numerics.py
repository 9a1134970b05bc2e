"""Devices that compute wrongly: their losses or weights differ from those of equal devices.

Deterministic trainings of one case with one seed on equal devices and software are equal to the
last bit. Where they are not, the minority is wrong. `pytest benchmarks --cnnperf-check-numerics`
makes two short ones on each device: two that differ from each other are a passing fault, two that
are wrong alike a lasting one. The losses of a run with `--cnnperf-deterministic` count too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from cnnperf.compare.drift import drift
from cnnperf.compare.fleet.devices import FleetDevice
from cnnperf.record.numerics import NumericsTraining
from cnnperf.record.schema import CaseRecord

MIN_VOTES = 3
"""Two devices that differ do not tell which of them is wrong."""

Key = tuple[object, ...]
Members = Mapping[str, Sequence[NumericsTraining]]


def find_wrong(devices: Sequence[FleetDevice]) -> tuple[dict[str, str], list[str]]:
    """Return the devices that compute wrongly, each with the first step, and notes."""
    trained: dict[Key, dict[str, Sequence[NumericsTraining]]] = {}
    for device in devices:
        for case in device.record.cases:
            for is_check, trainings in _trainings(case):
                key = (case.id, trainings[0].seed, is_check, *_numerics_stack(device, case))
                trained.setdefault(key, {})[device.name] = trainings
    wrong: dict[str, str] = {}
    notes: list[str] = []
    for key, members in trained.items():
        what = f"{key[0]}, seed {key[1]}"
        unsteady = [name for name, own in members.items() if _difference(own[0], own[-1])]
        if len(members) > 1 and len(unsteady) > len(members) / 2:
            notes.append(
                f"{what}: on {len(unsteady):,} of {len(members):,} devices two equal trainings "
                "differ, so the case is not deterministic there and tells nothing of the devices"
            )
            continue
        for name, reason in _wrong_among(members):
            wrong.setdefault(name, f"{what}: {reason}")
    return wrong, notes


def _trainings(case: CaseRecord) -> Iterator[tuple[bool, Sequence[NumericsTraining]]]:
    """Yield the check's trainings, and those of a deterministic run, by seed."""
    if case.numerics:
        yield True, case.numerics
    timed = [
        NumericsTraining(
            seed=repeat.seed,
            step_losses=repeat.step_losses,
            weights_sha256=repeat.weights_sha256,
        )
        for repeat in case.repeats
        if repeat.step_losses
    ]
    for _, own in groupby(sorted(timed, key=lambda each: each.seed), key=lambda each: each.seed):
        yield False, list(own)


def _numerics_stack(device: FleetDevice, case: CaseRecord) -> Key:
    """Return what must be equal for equal bits.

    That is more than equal speed needs: the host draws the first weights with its instructions, and
    threads divide sums.
    """
    settings = case.repeats[0].settings if case.repeats else None
    threads = settings.torch_threads if settings is not None else None
    return (*device.stack(case), device.environment.hardware.cpu_flags, threads)


def _wrong_among(members: Members) -> Iterator[tuple[str, str]]:
    """Yield each wrong device with the reason."""
    usual, votes = _majority(members)
    on = f"on {votes:,} of {len(members):,} devices"
    for name, own in members.items():
        if within := _difference(own[0], own[-1]):
            right = [
                place for place, each in enumerate(own, 1) if usual and not _difference(usual, each)
            ]
            told = f"; training {right[0]} is as {on}" if right else ""
            yield (
                name,
                f"two equal trainings differ on this device, {within}{told}: a passing fault",
            )
        elif usual is not None and (found := _difference(usual, own[0])):
            lasting = ", in both trainings: a lasting fault" if len(own) > 1 else ""
            yield name, f"unlike {on}, {found}{lasting}"


def _majority(members: Members) -> tuple[NumericsTraining | None, int]:
    """Return what more than half of the devices have, and how many; None where there is none."""
    votes = Counter(_bits(own[0]) for own in members.values() if not _difference(own[0], own[-1]))
    if len(members) < MIN_VOTES or not votes:
        return None, 0
    best, count = votes.most_common(1)[0]
    if count <= len(members) / 2:
        return None, 0
    return next(own[0] for own in members.values() if _bits(own[0]) == best), count


def _bits(training: NumericsTraining) -> tuple[object, ...]:
    return (*training.step_losses, training.weights_sha256)


def _difference(usual: NumericsTraining, other: NumericsTraining) -> str | None:
    """Return where two trainings differ, in a clause; None where they do not."""
    found = drift(0, usual.step_losses, other.step_losses)
    if found.first_difference_step is not None:
        return (
            f"the loss of step {found.first_difference_step} is {found.new_loss!r} instead of "
            f"{found.base_loss!r}"
        )
    weights = {usual.weights_sha256, other.weights_sha256}
    if len(weights) > 1 and None not in weights:
        return f"all {len(usual.step_losses)} losses are equal and the final weights are not"
    return None
