"""A folder of devices as one side of a comparison: each device is one training.

Trainings of one device share what the device does to them, so they are no independent samples of a
fleet. Each device becomes the mean of its trainings, and intervals are those over devices.
"""

from __future__ import annotations

import hashlib
import math
import statistics
from collections.abc import Sequence
from pathlib import Path

from cnnperf.compare.fleet.devices import CARD, HOST, FleetDevice, load_devices
from cnnperf.compare.thresholds import JUDGED
from cnnperf.record.schema import CaseRecord, Record


def devices_as_trainings(folder: Path) -> list[tuple[str, Record]]:
    """Return the name and record of each device, with one training of each case.

    A number made of what identifies the device takes the place of the seed, so that a device has
    the same one in every folder: a comparison pairs the devices that both sides have.

    Raises:
        UsageError: as in `load_devices`.
    """
    devices = load_devices(folder)
    return [
        (device.name, _with_one_training(device.record, _number(identity)))
        for device, identity in zip(devices, _identities(devices), strict=True)
    ]


def _identities(devices: Sequence[FleetDevice]) -> list[str]:
    """Return what tells the devices apart: their UUIDs, else host and card, else their names."""
    cards = [_uuid(device) or _place(device) for device in devices]
    known = [card for card in cards if card is not None]
    return known if len(set(known)) == len(devices) else [device.name for device in devices]


def _uuid(device: FleetDevice) -> str | None:
    gpu = device.environment.hardware.gpu
    return gpu.uuid_sha256 if gpu is not None else None


def _place(device: FleetDevice) -> str | None:
    place = [device.labels.get(HOST), device.labels.get(CARD)]
    return None if None in place else repr(place)


def _number(identity: str) -> int:
    return int(hashlib.sha256(identity.encode()).hexdigest()[:12], 16)


def _with_one_training(record: Record, number: int) -> Record:
    cases = [_as_one_training(case, number) for case in record.cases]
    return record.model_copy(update={"cases": cases})


def _as_one_training(case: CaseRecord, number: int) -> CaseRecord:
    if not case.repeats:
        return case
    means = {metric: _mean(case, metric) for metric in JUDGED}
    if (peak := means["peak_memory_bytes"]) is not None:
        means["peak_memory_bytes"] = round(peak)
    names = {name for repeat in case.repeats for name in repeat.quality}
    quality = {name: mean for name in names if (mean := _mean(case, name)) is not None}
    first = case.repeats[0]
    one = first.model_copy(
        update={
            "seed": number,
            "metrics": first.metrics.model_copy(update=means),
            "quality": quality,
            "warnings": [flag for repeat in case.repeats for flag in repeat.warnings],
            "step_losses": None,
        }
    )
    return case.model_copy(update={"repeats": [one]})


def _mean(case: CaseRecord, metric: str) -> float | None:
    """Return the mean, of ratios the geometric one; None where a training lacks the figure."""
    values = case.values(metric)
    if len(values) < len(case.repeats):
        return None
    judged = JUDGED.get(metric)
    if judged is not None and judged.by_ratio and min(values) > 0:
        return _geometric(values)
    return statistics.fmean(values)


def _geometric(values: Sequence[float]) -> float:
    return math.exp(statistics.fmean(map(math.log, values)))
