"""A folder of devices as one side of a comparison: each device is one training.

Trainings of one device share what the device does to them, so they are no independent samples of a
fleet. Each device becomes the mean of its trainings, and intervals are those over devices.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path

from cnnperf.compare.fleet.devices import load_devices
from cnnperf.compare.thresholds import JUDGED
from cnnperf.record.schema import CaseRecord, Record


def devices_as_trainings(folder: Path) -> list[tuple[str, Record]]:
    """Return the name and record of each device, with one training of each case.

    The number of a device, in the order of names, takes the place of the seed: two sides with the
    same devices are paired where a comparison pairs by seed.

    Raises:
        UsageError: as in `load_devices`.
    """
    return [
        (device.name, _with_one_training(device.record, number))
        for number, device in enumerate(load_devices(folder))
    ]


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
