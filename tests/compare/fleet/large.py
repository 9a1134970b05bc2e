"""A folder of records as a large fleet leaves it, to measure how long judging takes.

    python -m tests.compare.fleet.large FOLDER --devices 10000
    /usr/bin/time -v cnnperf fleet judge FOLDER

Every record has 5 cases of 5 trainings with everything that a training on a GPU records. The first
device of every hundred is slow, for want of PCIe lanes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from cnnperf.record.environment import (
    DeviceHealth,
    DeviceState,
    DuringState,
    HostState,
    Settings,
    State,
)
from cnnperf.record.harness import HarnessTimes
from cnnperf.record.schema import EpochResult, PerClass, Repeat, StateRecord
from tests.examples import example_case, example_case_record, example_record, example_repeat

CARDS = 8
SLOW = 0.9
MODELS = ("modified_vgg", "modified_resnet", "vgg16", "resnet18", "resnet34")


def full_repeat() -> Repeat:
    """A training of ten epochs with every part that a GPU's record has."""
    device = DeviceState(
        sm_clock_mhz=1755, sm_clock_limit_mhz=1980, memory_clock_mhz=2619, power_limit_watts=700,
        power_watts=412.5, temperature_celsius=55, throttle_reasons=("sw_power_cap",),
        other_processes=0, gpu_utilization_percent=97, memory_free_bytes=10**11,
        pcie_generation=5, pcie_width=16,
    )  # fmt: skip
    health = DeviceHealth(
        ecc_corrected=0, ecc_uncorrected=0, ecc_corrected_lifetime=3, ecc_uncorrected_lifetime=0,
        remapped_rows_correctable=0, remapped_rows_uncorrectable=0, remapping_pending=False,
        remapping_failed=False, nvlink_errors=0,
    )  # fmt: skip
    host = HostState(load_average_1min=1.5, cpu_busy_percent=3.2, memory_available_bytes=10**12)
    state = State(device=device, health=health, host=host)
    epochs = [
        EpochResult(
            epoch=epoch, train_loss=0.4 / epoch, train_seconds=1.9, val_loss=0.2 / epoch,
            val_accuracy=0.94, val_f1_macro=0.94, val_seconds=0.1,
        )
        for epoch in range(1, 11)
    ]  # fmt: skip
    during = DuringState(
        samples=40, duration_seconds=20.1, sm_clock_min_mhz=1700, sm_clock_median_mhz=1755,
        sm_clock_max_mhz=1980, sm_clock_limit_mhz=1980, power_mean_watts=410.3,
        temperature_max_celsius=61, throttle_shares={"sw_power_cap": 0.8}, pcie_generation=5,
        pcie_width=16, xid_errors=(), other_processes_max=0, others_cpu_busy_percent=1.1,
    )  # fmt: skip
    seconds = dict.fromkeys(HarnessTimes.model_fields, 0.123456)
    return example_repeat().model_copy(
        update={
            "epochs": epochs,
            "per_class": PerClass(precision=[0.99] * 10, recall=[0.98] * 10, f1=[0.985] * 10),
            "confusion": [[97] * 10] * 10,
            "harness": HarnessTimes(**seconds),
            "state": StateRecord(before=state, during=during, after=state),
            "settings": Settings(
                device="cuda", tf32_cudnn=True, tf32_matmul=False, torch_threads=16,
                variables={"OMP_NUM_THREADS": "16"}, visible_devices="0", cudnn_benchmark=True,
            ),
        }
    )  # fmt: skip


def write_large_fleet(folder: Path, devices: int, cases: int = 5, repeats: int = 5) -> None:
    """Write one record a device."""
    folder.mkdir(parents=True, exist_ok=True)
    trained = [full_repeat().model_copy(update={"seed": seed}) for seed in range(repeats)]
    content = example_record(
        *(example_case_record(example_case(model), repeats=trained) for model in MODELS[:cases])
    ).model_dump(mode="json")
    rng = np.random.default_rng(0)
    for number in range(devices):
        host, card = f"node{number // CARDS}", number % CARDS
        is_slow = number % 100 == 0
        _identify(content["environment"]["hardware"], host, card, number)
        speed = np.exp(rng.normal(0, 0.01)) * (SLOW if is_slow else 1.0)
        for repeat in (each for case in content["cases"] for each in case["repeats"]):
            noise = float(speed * np.exp(rng.normal(0, 0.003)))
            repeat["metrics"] |= {
                "images_per_second": 24_000 * noise, "train_seconds": 20 / noise,
            }  # fmt: skip
            repeat["state"]["during"]["pcie_width"] = 4 if is_slow else 16
        text = json.dumps({"benchmarks": [], "cnnperf": content})
        (folder / f"{host}-gpu{card}.json").write_text(text)


def _identify(hardware: dict[str, Any], host: str, card: int, number: int) -> None:
    hardware["host"] = host
    hardware["gpu"] |= {"index": card, "uuid_sha256": f"{number:016x}"}


def main() -> None:
    """Write the folder that the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--devices", type=int, default=10_000)
    arguments = parser.parse_args()
    write_large_fleet(arguments.folder, arguments.devices)


if __name__ == "__main__":
    main()
