"""Read the identity and the state of a GPU from NVML, NVIDIA's management library.

NVML is loaded at the first call. A value that it cannot give (no library, no driver, not supported,
an older driver) is None. On a MIG slice, memory and processes are the slice's; clocks, power and
temperature exist only for the board.

CUDA numbers only the GPUs that `CUDA_VISIBLE_DEVICES` shows, fastest first; NVML numbers all, in
PCI order. Reading the wrong card's clocks is worse than reading none, so where the GPU of a process
is ambiguous, it is None.

    python -c "from cnnperf.machine.nvml import *; print(count_gpus(), open_gpu(0))"
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import psutil

from cnnperf.machine.host import attempt
from cnnperf.record.environment import DeviceState, Gpu

CLOCK_SM, CLOCK_MEMORY, TEMPERATURE_GPU = 1, 2, 0
"""NVML_CLOCK_SM, NVML_CLOCK_MEM and NVML_TEMPERATURE_GPU of nvml.h."""

NVLINK_MAX_LINKS = 36
"""NVML_NVLINK_MAX_LINKS of nvml.h, CUDA 13; reading a link that a GPU lacks is an error."""

THROTTLE_REASONS = {
    0x001: "gpu_idle",
    0x002: "applications_clocks_setting",
    0x004: "sw_power_cap",
    0x008: "hw_slowdown",
    0x010: "sync_boost",
    0x020: "sw_thermal_slowdown",
    0x040: "hw_thermal_slowdown",
    0x080: "hw_power_brake_slowdown",
    0x100: "display_clock_setting",
    0x200: "board_limit",
    0x400: "reliability",
}
"""Bits of nvmlClocksEventReasons, nvml.h."""

CORES_PER_SM = {
    "6.0": 64, "6.1": 128, "6.2": 128, "7.0": 64, "7.2": 64, "7.5": 64, "8.0": 64, "8.6": 128,
    "8.7": 128, "8.9": 128, "9.0": 128, "10.0": 128, "10.3": 128, "11.0": 128, "12.0": 128,
    "12.1": 128,
}  # fmt: skip
"""CUDA cores per SM by compute capability: helper_cuda.h of NVIDIA's cuda-samples."""


UUID_PREFIXES = ("GPU-", "MIG-")


@dataclass(frozen=True, kw_only=True)
class GpuHandle:
    """An open GPU or MIG slice."""

    device: Any
    """NVML handle that owns memory and processes: the slice under MIG, else the board."""
    board: Any
    """NVML handle of the physical GPU: clocks, power, temperature, energy."""
    is_mig: bool = False


@functools.cache
def _library() -> Any | None:
    """Return pynvml with NVML initialised, once per process; None where that fails."""

    def load() -> Any:
        library = importlib.import_module("pynvml")
        library.nvmlInit()
        return library

    return attempt(load)


def ask(function: str, *arguments: object) -> Any:
    """Call an NVML function; None for any NVMLError and for a missing function."""
    return attempt(lambda: getattr(_library(), function)(*arguments))


def order(function: str, *arguments: object) -> bool:
    """Call an NVML function that returns nothing; return whether it succeeded."""
    return attempt(lambda: getattr(_library(), function)(*arguments) is None) is True


def is_available() -> bool:
    """Return whether NVML could be loaded and initialised."""
    return _library() is not None


def count_gpus() -> int:
    """Return the number of physical NVIDIA GPUs; 0 where NVML is missing."""
    return ask("nvmlDeviceGetCount") or 0


def driver_versions() -> tuple[str | None, str | None]:
    """Return the version of the driver, and the newest CUDA that it supports, such as `13.2`."""
    number = ask("nvmlSystemGetCudaDriverVersion")
    cuda = f"{number // 1000}.{number % 1000 // 10}" if number else None
    return ask("nvmlSystemGetDriverVersion"), cuda


# Finding a GPU


def open_gpu(index_or_uuid: int | str) -> GpuHandle | None:
    """Return the GPU with an NVML index or a UUID; None where there is none.

    A UUID may be that of a MIG slice, may lack its `GPU-` or `MIG-`, and may be cut short, as
    `CUDA_VISIBLE_DEVICES` allows, as long as it names exactly one device.
    """
    if isinstance(index_or_uuid, int):
        board = ask("nvmlDeviceGetHandleByIndex", index_or_uuid)
        return None if board is None else GpuHandle(device=board, board=board)
    uuid = index_or_uuid
    starts = [""] if uuid.startswith(UUID_PREFIXES) else UUID_PREFIXES
    prefixes = tuple(start + uuid for start in starts)
    boards = filter(None, map(open_gpu, range(count_gpus())))
    matches = [
        gpu
        for board in boards
        for gpu in (board, *mig_slices(board))
        if (ask("nvmlDeviceGetUUID", gpu.device) or "").startswith(prefixes)
    ]
    return matches[0] if uuid and len(matches) == 1 else None


def mig_slices(gpu: GpuHandle) -> Iterator[GpuHandle]:
    """Yield the MIG slices of a physical GPU; none where MIG is off."""
    for position in range(ask("nvmlDeviceGetMaxMigDeviceCount", gpu.board) or 0):
        piece = ask("nvmlDeviceGetMigDeviceHandleByIndex", gpu.board, position)
        if piece is not None:
            yield GpuHandle(device=piece, board=gpu.board, is_mig=True)


def name_of(gpu: GpuHandle) -> str | None:
    """Return the product name, such as `NVIDIA H200`."""
    names = (ask("nvmlDeviceGetName", part) for part in (gpu.device, gpu.board))
    return next((name for name in names if name), None)


def uuid_of(gpu: GpuHandle) -> str | None:
    """Return the UUID, which `CUDA_VISIBLE_DEVICES` accepts; no record has it."""
    uuid: str | None = ask("nvmlDeviceGetUUID", gpu.device)
    return uuid


def index_of(gpu: GpuHandle) -> int | None:
    """Return NVML's index of the board."""
    index: int | None = ask("nvmlDeviceGetIndex", gpu.board)
    return index


def hash_uuid(uuid: str) -> str:
    """Return the first 16 hex digits of the SHA-256 of a UUID, which identify a card."""
    return hashlib.sha256(uuid.encode()).hexdigest()[:16]


# The GPU of this process


def visible_gpu_handle(ordinal: int = 0) -> GpuHandle | None:
    """Return the NVML handle of this process's CUDA device `ordinal`; None where it is ambiguous.

    Different GPUs can be told apart only by UUID or with `CUDA_DEVICE_ORDER=PCI_BUS_ID`.
    """
    entries = parse_visible_devices(os.environ.get("CUDA_VISIBLE_DEVICES"))
    if entries is None:
        return _gpu_by_cuda_index(ordinal)
    if not 0 <= ordinal < len(entries):
        return None
    entry = entries[ordinal]
    return open_gpu(entry) if isinstance(entry, str) else _gpu_by_cuda_index(entry)


def parse_visible_devices(value: str | None) -> list[int | str] | None:
    """Return the devices that `CUDA_VISIBLE_DEVICES` shows, in order; None where it is unset.

    CUDA's rules: the list ends before the first invalid entry, a device named twice hides all, all
    entries are UUIDs with the prefix of the first one, or numbers, which anything may follow.
    """
    if value is None:
        return None
    entries: list[int | str] = []
    prefix = next(filter(value.startswith, UUID_PREFIXES), None)
    for text in value.split(","):
        number = re.match(r"\s*\+?(\d+)", text)
        if prefix is not None:
            entry: int | str | None = text if text.startswith(prefix) else None
        else:
            entry = int(number[1]) if number else None
        if entry in entries:
            return []
        if entry is None:
            break
        entries.append(entry)
    return entries


def _gpu_by_cuda_index(index: int) -> GpuHandle | None:
    """Return the GPU at CUDA's index, or its first MIG slice; None where CUDA may count otherwise.

    CUDA counts as NVML does if it was set to, or if all GPUs are alike.
    """
    if os.environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID":
        gpus = [open_gpu(each) for each in range(count_gpus())]
        if len({name_of(gpu) for gpu in gpus if gpu is not None}) > 1:
            return None
    gpu = open_gpu(index)
    return gpu if gpu is None or not mig_enabled(gpu) else next(mig_slices(gpu), None)


def hide_uuids(value: str | None) -> str | None:
    """Return a `CUDA_VISIBLE_DEVICES` for a record: UUIDs hashed, numbers unchanged."""
    if value is None:
        return None
    entries = [text.strip() for text in value.split(",")]
    return ",".join(hash_uuid(e) if e.startswith(UUID_PREFIXES) else e for e in entries)


# Identity


def read_gpu(gpu: GpuHandle) -> Gpu:
    """Return the stable identity of a GPU."""
    uuid = uuid_of(gpu)
    parts = ask("nvmlDeviceGetCudaComputeCapability", gpu.board)
    capability = None if parts is None else f"{parts[0]}.{parts[1]}"
    states = [ask("nvmlDeviceGetNvLinkState", gpu.board, n) for n in range(NVLINK_MAX_LINKS)]
    links = [state for state in states if state is not None]
    return Gpu(
        name=name_of(gpu),
        uuid_sha256=hash_uuid(uuid) if uuid else None,
        index=index_of(gpu),
        pcie_address=pcie_address(ask("nvmlDeviceGetPciInfo", gpu.board)),
        compute_capability=capability,
        sm_count=_sm_count(gpu, capability),
        memory_bytes=getattr(ask("nvmlDeviceGetMemoryInfo", gpu.device), "total", None),
        mig_enabled=mig_enabled(gpu),
        vbios=ask("nvmlDeviceGetVbiosVersion", gpu.board),
        pcie_generation=ask("nvmlDeviceGetMaxPcieLinkGeneration", gpu.board),
        pcie_width=ask("nvmlDeviceGetMaxPcieLinkWidth", gpu.board),
        nvlink_links=sum(links) if links else None,
    )


def pcie_address(info: Any) -> str | None:
    """Return NVML's `00000000:1B:00.0` as the system writes it, `0000:1b:00.0`; None if unknown."""
    text = getattr(info, "busId", None)
    text = text.decode(errors="replace") if isinstance(text, bytes) else text
    found = re.fullmatch(r"0*([0-9a-f]{4,}):([0-9a-f]{2}:[0-9a-f]{2}\.[0-7])", (text or "").lower())
    return f"{found[1]}:{found[2]}" if found else None


def mig_enabled(gpu: GpuHandle) -> bool | None:
    """Return whether the board is in MIG mode now; None where it has no such mode."""
    modes = ask("nvmlDeviceGetMigMode", gpu.board)
    return None if modes is None else modes[0] == 1


def _sm_count(gpu: GpuHandle, capability: str | None) -> int | None:
    """Return the SMs: of a slice from NVML, of a board from its CUDA cores."""
    if gpu.is_mig:
        return getattr(ask("nvmlDeviceGetAttributes", gpu.device), "multiprocessorCount", None)
    cores = ask("nvmlDeviceGetNumGpuCores", gpu.board)
    cores_per_sm = CORES_PER_SM.get(capability or "")
    return cores // cores_per_sm if cores and cores_per_sm else None


# State


def read_device_state(gpu: GpuHandle, own_pids: Collection[int]) -> DeviceState:
    """Return clocks, power, temperature and processes of a GPU now; own processes do not count."""
    mask = ask("nvmlDeviceGetCurrentClocksEventReasons", gpu.board)
    if mask is None:  # an older driver
        mask = ask("nvmlDeviceGetCurrentClocksThrottleReasons", gpu.board)
    return DeviceState(
        sm_clock_mhz=ask("nvmlDeviceGetClockInfo", gpu.board, CLOCK_SM),
        sm_clock_limit_mhz=ask("nvmlDeviceGetMaxClockInfo", gpu.board, CLOCK_SM),
        memory_clock_mhz=ask("nvmlDeviceGetClockInfo", gpu.board, CLOCK_MEMORY),
        power_limit_watts=_watts("nvmlDeviceGetEnforcedPowerLimit", gpu),
        power_watts=_watts("nvmlDeviceGetPowerUsage", gpu),
        temperature_celsius=ask("nvmlDeviceGetTemperature", gpu.board, TEMPERATURE_GPU),
        throttle_reasons=None if mask is None else decode_throttle_reasons(mask),
        other_processes=_other_processes(gpu, own_pids),
        gpu_utilization_percent=getattr(
            ask("nvmlDeviceGetUtilizationRates", gpu.board), "gpu", None
        ),
        memory_free_bytes=getattr(ask("nvmlDeviceGetMemoryInfo", gpu.device), "free", None),
        pcie_generation=ask("nvmlDeviceGetCurrPcieLinkGeneration", gpu.board),
        pcie_width=ask("nvmlDeviceGetCurrPcieLinkWidth", gpu.board),
    )


MIN_ENERGY_SECONDS = 5.0
"""The energy counter moves only every 20 to 100 ms, and a reading of the power is an average of the
last second from Ampere on (nvml.h): over shorter runs both are mostly about something else."""


def read_energy_millijoules(gpu: GpuHandle) -> int | None:
    """Return the energy of the board since the driver was loaded.

    The counter moves every 20 to 100 ms, so take differences over seconds. Under MIG it counts all
    slices together.
    """
    energy: int | None = ask("nvmlDeviceGetTotalEnergyConsumption", gpu.board)
    return energy


def decode_throttle_reasons(mask: int) -> tuple[str, ...]:
    """Return the names of the bits set in an nvmlClocksEventReasons mask, lowest bit first."""
    bits = [1 << position for position in range(mask.bit_length()) if mask >> position & 1]
    return tuple(THROTTLE_REASONS.get(bit, f"unknown_{bit:#x}") for bit in bits)


def _watts(function: str, gpu: GpuHandle) -> float | None:
    """Return a power in watts; NVML counts milliwatts."""
    milliwatts = ask(function, gpu.board)
    return None if milliwatts is None else milliwatts / 1000


def _other_processes(gpu: GpuHandle, own_pids: Collection[int]) -> int | None:
    """Count compute processes of others on the device.

    In a container NVML can list the host's PIDs (gpu-monitoring-tools#63), which do not exist here.
    If none of ours is in the list, one such PID counts as ours.
    """
    processes = ask("nvmlDeviceGetComputeRunningProcesses", gpu.device)
    if processes is None:
        return None
    pids = {process.pid for process in processes}
    strangers = pids.difference(own_pids)
    hidden = {pid for pid in strangers if attempt(psutil.pid_exists, pid) is False}
    is_us = bool(hidden) and strangers == pids
    return len(strangers) - int(is_us)
