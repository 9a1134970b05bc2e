"""An NVML without NVIDIA hardware: GPUs that report what a test gives them."""

# ruff: noqa: N802 (the fake has NVML's function names)

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pynvml

GIB = 2**30

ATTRIBUTES = {
    "nvmlDeviceGetName": "name",
    "nvmlDeviceGetUUID": "uuid",
    "nvmlDeviceGetIndex": "index",
    "nvmlDeviceGetPciInfo": "pci",
    "nvmlDeviceGetCudaComputeCapability": "capability",
    "nvmlDeviceGetNumGpuCores": "cores",
    "nvmlDeviceGetVbiosVersion": "vbios",
    "nvmlDeviceGetMaxPcieLinkGeneration": "pcie_generation",
    "nvmlDeviceGetMaxPcieLinkWidth": "pcie_width",
    "nvmlDeviceGetMemoryInfo": "memory",
    "nvmlDeviceGetMigMode": "mig_mode",
    "nvmlDeviceGetAttributes": "attributes",
    "nvmlDeviceGetEnforcedPowerLimit": "limit_milliwatts",
    "nvmlDeviceGetPowerUsage": "milliwatts",
    "nvmlDeviceGetUtilizationRates": "utilization",
    "nvmlDeviceGetCurrentClocksEventReasons": "reasons",
    "nvmlDeviceGetCurrentClocksThrottleReasons": "old_reasons",
    "nvmlDeviceGetTotalEnergyConsumption": "millijoules",
}
"""NVML functions of a handle only, and the fake handle's attribute that each returns."""


def fake_gpu(index: int = 0, **changes: object) -> SimpleNamespace:
    """An H200 as NVML would describe it, except for `changes`."""
    fields: dict[str, object] = {
        "name": "NVIDIA H200",
        "uuid": f"GPU-{index}aaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
        "index": index,
        "pci": SimpleNamespace(busId=f"00000000:{0x1B + index:02X}:00.0"),
        "capability": (9, 0),
        "cores": 16896,  # 132 SMs of 128, H200 data sheet
        "vbios": "96.00.A5.00.01",
        "pcie_generation": 5,
        "pcie_width": 16,
        "memory": SimpleNamespace(total=141 * GIB, free=140 * GIB),
        "mig_mode": [0, 0],
        "clocks": {pynvml.NVML_CLOCK_SM: 1500, pynvml.NVML_CLOCK_MEM: 3201},
        "clock_limit": 1980,
        "limit_milliwatts": 700_000,
        "milliwatts": 412_500,
        "celsius": 55,
        "utilization": SimpleNamespace(gpu=97),
        "reasons": 0,
        "millijoules": 123_456_789,
        "pids": [],
        "links": 18,
        "slices": [],
    }
    return SimpleNamespace(**(fields | changes))


class FakeNvml:
    """Stands in for pynvml: answers from fake handles, raises NVMLError for what they lack."""

    NVMLError = pynvml.NVMLError

    def __init__(self, *gpus: SimpleNamespace) -> None:
        self.gpus = gpus

    def __getattr__(self, function: str) -> Callable[..., Any]:
        """Functions that only read one attribute; others do not exist, as in an old pynvml."""
        if function not in ATTRIBUTES:
            raise AttributeError(function)
        return lambda handle, *_: self.read(handle, ATTRIBUTES[function])

    def read(self, handle: SimpleNamespace, attribute: str) -> Any:
        if not hasattr(handle, attribute):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return getattr(handle, attribute)

    def nvmlDeviceGetCount(self) -> int:
        return len(self.gpus)

    def nvmlSystemGetDriverVersion(self) -> str:
        return "580.65.06"

    def nvmlSystemGetCudaDriverVersion(self) -> int:
        return 13020

    def nvmlDeviceGetHandleByIndex(self, index: int) -> SimpleNamespace:
        if index >= len(self.gpus):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        return self.gpus[index]

    def nvmlDeviceGetClockInfo(self, handle: SimpleNamespace, kind: int) -> int:
        return self.read(handle, "clocks")[kind]

    def nvmlDeviceGetMaxClockInfo(self, handle: SimpleNamespace, kind: int) -> int:
        return self.read(handle, "clock_limit")

    def nvmlDeviceGetTemperature(self, handle: SimpleNamespace, sensor: int) -> int:
        return self.read(handle, "celsius")

    def nvmlDeviceGetComputeRunningProcesses(self, handle: SimpleNamespace) -> list[Any]:
        return [SimpleNamespace(pid=pid) for pid in self.read(handle, "pids")]

    def nvmlDeviceGetNvLinkState(self, handle: SimpleNamespace, link: int) -> int:
        if link >= self.read(handle, "links"):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        return 1

    def nvmlDeviceGetMaxMigDeviceCount(self, handle: SimpleNamespace) -> int:
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: SimpleNamespace, position: int) -> Any:
        if position >= len(handle.slices):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return handle.slices[position]


InstallNvml = Callable[..., None]


def mig_gpu(index: int = 0) -> SimpleNamespace:
    """An H200 split in two slices of which each has its own memory, SMs and processes."""
    slices = [
        SimpleNamespace(
            name="NVIDIA H200 MIG 1g.18gb",
            uuid=f"MIG-{index}{number}000000-bbbb-cccc-dddd-eeeeeeeeeeee",
            memory=SimpleNamespace(total=16 * GIB, free=15 * GIB),
            attributes=SimpleNamespace(multiprocessorCount=16),
            pids=[],
        )
        for number in range(2)
    ]
    return fake_gpu(index, mig_mode=[1, 1], slices=slices)
