"""Folders of records as a fleet leaves them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cnnperf.compare.fleet.devices import FleetDevice
from cnnperf.record.schema import Record
from tests.examples import (
    example_case_record,
    example_environment,
    example_record,
    example_repeat,
    write_record,
)

NODE = 8


def name_of(number: int) -> str:
    """The name of a device: eight a node."""
    return f"node{number // NODE}-gpu{number % NODE}"


def record_of(
    effect: float, rng: np.random.Generator, *, repeats: int = 5, within: float = 0.003, **case: Any
) -> Record:
    """A device that is `effect` (a logarithm) faster than 24,000 images/s."""
    trained = [
        example_repeat(
            seed,
            train_seconds=float(20 / np.exp(noise)),
            images_per_second=float(24_000 * np.exp(noise)),
        )
        for seed, noise in enumerate(effect + rng.normal(0, within, repeats))
    ]
    return example_record(example_case_record(repeats=trained, **case))


def fleet_of(
    count: int = 40,
    effects: Mapping[int, float] | None = None,
    *,
    between: float = 0.01,
    within: float = 0.003,
    repeats: int = 5,
    seed: int = 0,
) -> dict[str, Record]:
    """Records by name; `effects` are added to some devices."""
    rng = np.random.default_rng(seed)
    own = rng.normal(0, between, count)
    return {
        name_of(number): record_of(
            own[number] + (effects or {}).get(number, 0.0), rng, repeats=repeats, within=within
        )
        for number in range(count)
    }


def devices_of(records: Mapping[str, Record], *, hosts: bool = False) -> list[FleetDevice]:
    """The devices of some records, with the label `host` if asked for."""
    return [
        FleetDevice(
            name=name, record=record, labels={"host": name.partition("-")[0]} if hosts else {}
        )
        for name, record in records.items()
    ]


def write_fleet(folder: Path, records: Mapping[str, Record]) -> Path:
    """One file a device."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, record in records.items():
        write_record(folder / f"{name}.json", json.loads(record.model_dump_json()))
    return folder


def with_gpu(record: Record, **fields: Any) -> Record:
    """The record of a card with these properties."""
    environment = record.environment
    gpu = environment.hardware.gpu or example_environment().hardware.gpu
    assert gpu is not None
    hardware = environment.hardware.model_copy(update={"gpu": gpu.model_copy(update=fields)})
    changed = environment.model_copy(update={"hardware": hardware})
    return record.model_copy(update={"environment": changed})


def with_host(record: Record, host: str, **gpu: Any) -> Record:
    """The record of a card of this host."""
    record = with_gpu(record, **gpu)
    environment = record.environment
    hardware = environment.hardware.model_copy(update={"host": host})
    changed = environment.model_copy(update={"hardware": hardware})
    return record.model_copy(update={"environment": changed})
