"""The devices of a fleet: one record each, in a folder.

A Slurm array, a loop over SSH or `cnnperf fleet run` leaves such folders. A device is called as its
file: `node7-gpu3.json` is node7-gpu3. Its labels are the host and the card in its record, and what
a file of labels, in CSV with a column `device`, says: racks and whatever else devices have in
common.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from cnnperf.errors import UsageError, one_of, printable
from cnnperf.record.anonymous import HASHED, anonymous, anonymous_name, without_host
from cnnperf.record.environment import Environment
from cnnperf.record.loading import load_record, name_of
from cnnperf.record.schema import CaseRecord, Record

HOST = "host"
"""The label of which all cards of a machine have the same value."""

CARD = "card"
"""The label with the index of a GPU, or `cpu`."""


@dataclass(frozen=True, kw_only=True)
class FleetDevice:
    """One device and what was trained on it."""

    name: str
    record: Record
    labels: dict[str, str] = field(default_factory=dict)
    """Such as host, rack or row."""

    @property
    def environment(self) -> Environment:
        """The machine and its software."""
        return self.record.environment

    def stack(self, case: CaseRecord) -> tuple[object, ...]:
        """Return what peers have in common: hardware, software, and what was trained.

        Drivers and firmware may differ; that may be the cause of a slow device.
        """
        hardware, software = self.environment.hardware, self.environment.software
        gpu = hardware.gpu
        machine = (
            (gpu.name, gpu.memory_bytes, gpu.sm_count, gpu.mig_enabled)
            if gpu is not None
            else (hardware.cpu_model, hardware.cpu_logical_cores, hardware.cpu_flags)
        )
        versions = (software.torch, software.cuda_runtime, software.cudnn, software.python)
        digest = case.fingerprint.digest if case.fingerprint is not None else None
        return (*machine, *versions, digest, case.shortened, case.is_deterministic)


def load_devices(
    folder: Path, labels: Path | None = None, *, is_anonymous: bool = False
) -> list[FleetDevice]:
    """Read every record of a folder and below it, sorted by name.

    If `is_anonymous`, the devices have hashes for the names of their hosts.

    Raises:
        UsageError: there is no such folder or no record in it, a record cannot be read, two are of
            one device, or the labels do not fit.
    """
    if not folder.is_dir():
        raise UsageError(f"{name_of(folder)} is no folder: expected one with a record a device")
    paths = sorted(path for path in folder.rglob("*.json") if path.is_file())
    paths = [path for path in paths if not path.name.endswith(".calibration.json")]
    if not paths:
        raise UsageError(
            f"{name_of(folder)} has no record: put one a device there, which `pytest benchmarks "
            "--benchmark-json=FILE` writes"
        )
    known = _read_labels(labels) if labels is not None else {}
    devices = [
        _labelled(_name(path, folder), load_record(path), known.get(path.stem, {}))
        for path in paths
    ]
    _check_labels(known, {path.stem for path in paths}, labels)
    _check_distinct(devices)
    return [_anonymous_device(device) for device in devices] if is_anonymous else devices


def _labelled(name: str, record: Record, given: dict[str, str]) -> FleetDevice:
    """Return a device with its host and card as labels; those that the user gives win."""
    hardware = record.environment.hardware
    gpu = hardware.gpu if record.environment.settings.device != "cpu" else None
    card = "cpu" if gpu is None else gpu.index
    found = {HOST: hardware.host, CARD: None if card is None else str(card)}
    known = {label: printable(value) for label, value in found.items() if value}
    return FleetDevice(name=name, record=record, labels=known | given)


def _anonymous_device(device: FleetDevice) -> FleetDevice:
    """Return a device whose name, labels and record do not name its host."""
    host = device.environment.hardware.host
    name = without_host(device.name, host) if host else device.name
    if name == device.name and not HASHED.search(name):  # called otherwise than its host
        name = anonymous_name(name, "device")
    labels = device.labels
    if HOST in labels:
        labels = labels | {HOST: anonymous_name(labels[HOST])}
    return FleetDevice(name=name, record=anonymous(device.record), labels=labels)


def _name(path: Path, folder: Path) -> str:
    return printable(path.relative_to(folder).with_suffix("").as_posix())


def _read_labels(path: Path) -> dict[str, dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            rows = list(csv.DictReader(lines))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"--labels: {name_of(path)} cannot be read: {error}") from None
    if not rows or "device" not in rows[0]:
        raise UsageError(
            f"--labels: {name_of(path)} has no column `device`; expected CSV such as "
            "device,host,rack and a line a device"
        )
    return {
        row["device"]: {
            printable(name): printable(value)
            for name, value in row.items()
            if name not in (None, "device") and value
        }
        for row in rows
    }


def _check_labels(known: Iterable[str], names: Iterable[str], path: Path | None) -> None:
    names = set(names)
    for name in known:
        if name not in names:
            raise UsageError(f"--labels: {path}: {one_of('device', name, names)}")


def _check_distinct(devices: list[FleetDevice]) -> None:
    """Refuse two records of one card: its repeats belong into one record."""
    seen: dict[str, str] = {}
    for device in devices:
        gpu = device.environment.hardware.gpu
        uuid = gpu.uuid_sha256 if gpu is not None else None
        if uuid is not None and uuid in seen:
            raise UsageError(
                f"{seen[uuid]} and {device.name} are records of one GPU: keep the newer one, or "
                "train all repeats in one run"
            )
        if uuid is not None:
            seen[uuid] = device.name
