"""Signs: what the record of a device says that may explain its speed, in a few small values.

They are read once, when a record is loaded. The states of thousands of devices before, during and
after each training would take gigabytes, and each slow device would look through all of them.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from cnnperf.record.schema import Record, Repeat


@dataclass(frozen=True, kw_only=True, slots=True)
class Signs:
    """What a device is, and what happened on it; each value by the name that people read."""

    identity: dict[str, object]
    """Properties that devices of one kind usually share; None where unknown."""
    levels: dict[str, float]
    """Clocks, power and temperature: medians over the trainings."""
    limits: dict[str, float]
    """Share of the time for which each reason limited the clocks or the CPU."""
    errors: dict[str, int]
    xids: frozenset[int]
    """Numbers of the driver's errors during the trainings."""
    warnings: dict[str, float]
    """Share of the trainings with each kind of warning."""


def read_signs(record: Record) -> Signs:
    """Return the signs in a record."""
    repeats = [repeat for case in record.cases for repeat in case.repeats]
    during = [repeat.state.during for repeat in repeats if repeat.state.during is not None]
    return Signs(
        identity=_identity(record, repeats),
        levels=_levels(repeats),
        limits=_limits(during),
        errors=_errors(repeats),
        xids=frozenset(number for each in during for number in each.xid_errors or ()),
        warnings=_warnings(repeats),
    )


def usual(values: Sequence[object]) -> object:
    """Return what most have; None where they differ."""
    known = {repr(value): value for value in values}
    counts = Counter(map(repr, values))
    if not counts:
        return None
    text, count = counts.most_common(1)[0]
    return known[text] if count > len(values) / 2 else None


GPU = {
    "PCIe lanes": "pcie_width",
    "PCIe generation": "pcie_generation",
    "NVLink links": "nvlink_links",
}
SETTINGS = {
    "CPU quota in cores": "cpu_quota_cores",
    "threads of torch": "torch_threads",
    "environment variables": "variables",
    "tracers": "tracers",
}
SOFTWARE = {"kernel": "kernel", "cnnperf": "cnnperf"}
LINK = {
    "PCIe lanes under load": "pcie_width",
    "PCIe generation under load": "pcie_generation",
}


def _identity(record: Record, repeats: Sequence[Repeat]) -> dict[str, object]:
    """Return the properties, those first that most likely slow a device."""
    environment = record.environment
    gpu, software = environment.hardware.gpu, environment.software
    settings = repeats[0].settings if repeats else None
    during = [repeat.state.during for repeat in repeats]
    return {
        **{name: usual(_known(during, field)) for name, field in LINK.items()},
        **{name: getattr(gpu, field, None) for name, field in GPU.items()},
        **{name: getattr(settings, field, None) for name, field in SETTINGS.items()},
        "driver": software.driver,
        "VBIOS": gpu.vbios if gpu is not None else None,
        **{name: getattr(software, field) for name, field in SOFTWARE.items()},
    }


def _known(states: Iterable[Any], field: str) -> list[Any]:
    found = (getattr(state, field, None) for state in states)
    return [value for value in found if value is not None]


POWER, CLOCK, TEMPERATURE = "power limit", "SM clock", "temperature"


def _levels(repeats: Sequence[Repeat]) -> dict[str, float]:
    during = [repeat.state.during for repeat in repeats]
    before = [state.device for repeat in repeats if (state := repeat.state.before) is not None]
    found = {
        POWER: _known(before, "power_limit_watts"),
        CLOCK: _known(during, "sm_clock_median_mhz"),
        TEMPERATURE: _known(during, "temperature_max_celsius"),
    }
    return {name: statistics.median(values) for name, values in found.items() if values}


def _limits(during: Sequence[Any]) -> dict[str, float]:
    shares = [each.throttle_shares for each in during if each.throttle_shares]
    names = {name for share in shares for name in share}
    found = {name: statistics.fmean(share.get(name, 0.0) for share in shares) for name in names}
    stopped = [
        each.cpu_throttled_periods / each.cpu_periods
        for each in during
        if each.cpu_periods and each.cpu_throttled_periods is not None
    ]
    return found | ({"a CPU quota": statistics.fmean(stopped)} if stopped else {})


GROWING = {
    "uncorrected ECC errors during its trainings": "ecc_uncorrected",
    "NVLink errors during its trainings": "nvlink_errors",
    "corrected ECC errors during its trainings": "ecc_corrected",
}
SO_FAR = {
    "failed remappings of memory rows": ("remapping_failed",),
    "memory rows waiting for a reset to be remapped": ("remapping_pending",),
    "remapped memory rows": ("remapped_rows_correctable", "remapped_rows_uncorrectable"),
    "retired memory pages": ("retired_pages",),
    "uncorrected ECC errors in its life": ("ecc_uncorrected_lifetime",),
}


def _errors(repeats: Sequence[Repeat]) -> dict[str, int]:
    """Return the errors of the trainings, then those so far, the gravest first."""
    ends = [
        (before.health, after.health)
        for repeat in repeats
        if (before := repeat.state.before) is not None
        and (after := repeat.state.after) is not None
        and before.health is not None
        and after.health is not None
    ]
    found = {}
    for name, field in GROWING.items():
        pairs = [(getattr(before, field), getattr(after, field)) for before, after in ends]
        grown = [max(0, after - before) for before, after in pairs if None not in (before, after)]
        if grown:
            found[name] = sum(grown)
    for name, fields in SO_FAR.items():
        last = ends[-1:]  # the counters only grow
        known = [value for _, after in last for field in fields
                 if (value := getattr(after, field)) is not None]  # fmt: skip
        if known:
            found[name] = sum(known)
    return found


def _warnings(repeats: Sequence[Repeat]) -> dict[str, float]:
    counts = Counter(kind for each in repeats for kind in {flag.kind for flag in each.warnings})
    return {kind: count / len(repeats) for kind, count in counts.items()}
