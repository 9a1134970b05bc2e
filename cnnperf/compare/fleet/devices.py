"""The devices of a fleet: one record each, in a folder.

A Slurm array, a loop over SSH or `cnnperf fleet run` leaves such folders. A device is called as its
file: `node7-gpu3.json` is node7-gpu3. Its labels are the host and the card in its record, and what
a file of labels, in CSV with a column `device`, says: racks and whatever else devices have in
common.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from cnnperf.compare.fleet.signs import Signs, read_signs
from cnnperf.errors import UsageError, one_of, printable
from cnnperf.record.anonymous import HASHED, anonymous, anonymous_name, without_host
from cnnperf.record.environment import Environment
from cnnperf.record.files import name_of
from cnnperf.record.fingerprint import Fingerprint
from cnnperf.record.loading import load_quickly, no_search_for_cycles
from cnnperf.record.schema import CaseRecord, Record, StateRecord

HOST = "host"
"""The label of which all cards of a machine have the same value."""

NOT_JUDGED = ("epochs", "per_class", "confusion", "harness", "inference", "profile")
"""Parts of a training that say nothing of its device: two thirds of a record."""

NO_STATE = StateRecord()

CARD = "card"
"""The label with the index of a GPU, or `cpu`."""


@dataclass(frozen=True, kw_only=True)
class FleetDevice:
    """One device and what was trained on it."""

    name: str
    record: Record
    labels: dict[str, str] = field(default_factory=dict)
    """Such as host, rack or row."""
    signs: Signs = field(default=cast("Signs", None), compare=False)
    """What may explain its speed; read from the record unless it is given."""

    def __post_init__(self) -> None:
        """Read the signs."""
        if self.signs is None:
            object.__setattr__(self, "signs", read_signs(self.record))

    @property
    def environment(self) -> Environment:
        """The machine and its software."""
        return self.record.environment

    @property
    def kind(self) -> tuple[object, ...]:
        """What is equal in devices of one kind: the GPU, or the CPU where there is none."""
        hardware = self.environment.hardware
        gpu = hardware.gpu
        if gpu is not None:
            return gpu.name, gpu.memory_bytes, gpu.sm_count, gpu.mig_enabled
        return hardware.cpu_model, hardware.cpu_logical_cores, hardware.cpu_flags

    def stack(self, case: CaseRecord) -> tuple[object, ...]:
        """Return what peers have in common: hardware, software, and what was trained.

        Drivers and firmware may differ; that may be the cause of a slow device.
        """
        software = self.environment.software
        versions = (software.torch, software.cuda_runtime, software.cudnn, software.python)
        digest = case.fingerprint.digest if case.fingerprint is not None else None
        return (*self.kind, *versions, digest, case.shortened, case.is_deterministic)


def load_devices(
    folder: Path,
    labels: Path | None = None,
    *,
    is_anonymous: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> list[FleetDevice]:
    """Read every record of a folder and below it, sorted by name.

    If `is_anonymous`, the devices have hashes for the names of their hosts. `progress` gets a text
    before each record.

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
    prints: dict[str, Fingerprint] = {}
    devices = []
    with no_search_for_cycles():
        for number, path in enumerate(paths, start=1):
            progress(f"reading records, {number:,}/{len(paths):,} ...")
            record = load_quickly(path, NOT_JUDGED)
            for case in record.cases:  # a fleet has few, and thousands of copies
                if case.fingerprint is not None:
                    digest = case.fingerprint.digest
                    case.fingerprint = prints.setdefault(digest, case.fingerprint)
            devices.append(_labelled(_name(path, folder), record, known.get(path.stem, {})))
    _check_labels(known, {path.stem for path in paths}, labels)
    _check_distinct(devices)
    return [_anonymous_device(device) for device in devices] if is_anonymous else devices


def load_device(path: Path) -> FleetDevice:
    """Read the record of one device, called as its file.

    Raises:
        UsageError: it cannot be read.
    """
    return _labelled(printable(path.stem), load_quickly(path, NOT_JUDGED), {})


def _labelled(name: str, record: Record, given: dict[str, str]) -> FleetDevice:
    """Return a device with its host and card as labels; those that the user gives win."""
    hardware = record.environment.hardware
    gpu = hardware.gpu if record.environment.settings.device != "cpu" else None
    card = "cpu" if gpu is None else gpu.index
    found = {HOST: hardware.host, CARD: None if card is None else str(card)}
    known = {label: printable(value) for label, value in found.items() if value}
    device = FleetDevice(name=name, record=record, labels=known | given)
    for repeat in (repeat for case in record.cases for repeat in case.repeats):
        repeat.state = NO_STATE  # the signs have what counts
    return device


def _anonymous_device(device: FleetDevice) -> FleetDevice:
    """Return a device whose name, labels and record do not name its host."""
    host = device.environment.hardware.host
    name = without_host(device.name, host) if host else device.name
    if name == device.name and not HASHED.search(name):  # called otherwise than its host
        name = anonymous_name(name, "device")
    labels = device.labels
    if HOST in labels:
        labels = labels | {HOST: anonymous_name(labels[HOST])}
    record = anonymous(device.record)
    return FleetDevice(name=name, record=record, labels=labels, signs=device.signs)


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
