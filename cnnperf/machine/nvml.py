"""Read the identity and the state of a GPU from NVML, NVIDIA's management library.

NVML is loaded at the first call. A value that it cannot give (no library, no driver, not supported,
an older driver) is None. On a MIG slice, memory and processes are the slice's; clocks, power and
temperature exist only for the board.

    python -c "from cnnperf.machine.nvml import *; print(count_gpus(), open_gpu(0))"
"""

from __future__ import annotations

import functools
import hashlib
import importlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from cnnperf.machine.attempt import attempt
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

HARMFUL_THROTTLE_REASONS = frozenset(
    {"hw_slowdown", "sw_thermal_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown"}
)
"""Reasons that make a time wrong for the card. A power cap is normal work, so it is not here."""

CORES_PER_SM = {
    "6.0": 64, "6.1": 128, "6.2": 128, "7.0": 64, "7.2": 64, "7.5": 64, "8.0": 64, "8.6": 128,
    "8.7": 128, "8.9": 128, "9.0": 128, "10.0": 128, "10.3": 128, "11.0": 128, "12.0": 128,
    "12.1": 128,
}  # fmt: skip
"""CUDA cores per SM by compute capability: helper_cuda.h of NVIDIA's cuda-samples."""


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


def _ask(function: str, *arguments: object) -> Any:
    """Call an NVML function; None for any NVMLError and for a missing function."""
    return attempt(lambda: getattr(_library(), function)(*arguments))


def is_available() -> bool:
    """Return whether NVML could be loaded and initialised."""
    return _library() is not None


def count_gpus() -> int:
    """Return the number of physical NVIDIA GPUs; 0 where NVML is missing."""
    return _ask("nvmlDeviceGetCount") or 0


def driver_version() -> str | None:
    """Return the version of the NVIDIA driver."""
    version: str | None = _ask("nvmlSystemGetDriverVersion")
    return version


def cuda_driver_version() -> str | None:
    """Return the newest CUDA version that the driver supports, such as `13.2`."""
    number = _ask("nvmlSystemGetCudaDriverVersion")
    return f"{number // 1000}.{number % 1000 // 10}" if number else None


# Finding a GPU


def open_gpu(index_or_uuid: int | str) -> GpuHandle | None:
    """Return the GPU with an NVML index or a UUID; None where there is none.

    A UUID may be that of a MIG slice, may lack its `GPU-` or `MIG-`, and may be cut short, as
    `CUDA_VISIBLE_DEVICES` allows, as long as it names exactly one device.
    """
    if isinstance(index_or_uuid, int):
        board = _ask("nvmlDeviceGetHandleByIndex", index_or_uuid)
        return None if board is None else GpuHandle(device=board, board=board)
    uuid = index_or_uuid
    prefixes = (uuid,) if uuid.startswith(("GPU-", "MIG-")) else (f"GPU-{uuid}", f"MIG-{uuid}")
    matches = [gpu for gpu in _every_gpu() if (uuid_of(gpu) or "").startswith(prefixes)]
    return matches[0] if uuid and len(matches) == 1 else None


def _every_gpu() -> Iterator[GpuHandle]:
    """Yield every physical GPU, each followed by its MIG slices."""
    for index in range(count_gpus()):
        gpu = open_gpu(index)
        if gpu is not None:
            yield gpu
            yield from mig_slices(gpu)


def mig_slices(gpu: GpuHandle) -> Iterator[GpuHandle]:
    """Yield the MIG slices of a physical GPU; none where MIG is off."""
    for position in range(_ask("nvmlDeviceGetMaxMigDeviceCount", gpu.board) or 0):
        piece = _ask("nvmlDeviceGetMigDeviceHandleByIndex", gpu.board, position)
        if piece is not None:
            yield GpuHandle(device=piece, board=gpu.board, is_mig=True)


def uuid_of(gpu: GpuHandle) -> str | None:
    """Return the UUID of a GPU or slice, such as `GPU-8932f937-...`."""
    uuid: str | None = _ask("nvmlDeviceGetUUID", gpu.device)
    return uuid


def name_of(gpu: GpuHandle) -> str | None:
    """Return the product name, such as `NVIDIA H200`."""
    names = (_ask("nvmlDeviceGetName", part) for part in (gpu.device, gpu.board))
    return next((name for name in names if name), None)


def hash_uuid(uuid: str) -> str:
    """Return the first 16 hex digits of the SHA-256 of a UUID, which identify a card."""
    return hashlib.sha256(uuid.encode()).hexdigest()[:16]


# Identity


def read_gpu(gpu: GpuHandle) -> Gpu:
    """Return the stable identity of a GPU."""
    uuid = uuid_of(gpu)
    return Gpu(
        name=name_of(gpu),
        uuid_sha256=hash_uuid(uuid) if uuid else None,
        index=_ask("nvmlDeviceGetIndex", gpu.board),
        compute_capability=_compute_capability(gpu),
        sm_count=_sm_count(gpu),
        memory_bytes=getattr(_ask("nvmlDeviceGetMemoryInfo", gpu.device), "total", None),
        mig_enabled=mig_enabled(gpu),
        vbios=_ask("nvmlDeviceGetVbiosVersion", gpu.board),
        pcie_generation=_ask("nvmlDeviceGetMaxPcieLinkGeneration", gpu.board),
        pcie_width=_ask("nvmlDeviceGetMaxPcieLinkWidth", gpu.board),
        nvlink_links=_nvlink_links(gpu),
    )


def mig_enabled(gpu: GpuHandle) -> bool | None:
    """Return whether the board is in MIG mode now; None where it has no such mode."""
    modes = _ask("nvmlDeviceGetMigMode", gpu.board)
    return None if modes is None else modes[0] == 1


def _compute_capability(gpu: GpuHandle) -> str | None:
    """Return major and minor, such as `9.0`."""
    parts = _ask("nvmlDeviceGetCudaComputeCapability", gpu.board)
    return None if parts is None else f"{parts[0]}.{parts[1]}"


def _sm_count(gpu: GpuHandle) -> int | None:
    """Return the SMs: of a slice from NVML, of a board from its CUDA cores."""
    if gpu.is_mig:
        return getattr(_ask("nvmlDeviceGetAttributes", gpu.device), "multiprocessorCount", None)
    cores = _ask("nvmlDeviceGetNumGpuCores", gpu.board)
    cores_per_sm = CORES_PER_SM.get(_compute_capability(gpu) or "")
    return cores // cores_per_sm if cores and cores_per_sm else None


def _nvlink_links(gpu: GpuHandle) -> int | None:
    """Return the number of active NVLink links; None where NVML reports no link."""
    links = range(NVLINK_MAX_LINKS)
    states = [_ask("nvmlDeviceGetNvLinkState", gpu.board, link) for link in links]
    known = [state for state in states if state is not None]
    return sum(known) if known else None


# State


def read_device_state(gpu: GpuHandle, own_pids: Collection[int]) -> DeviceState:
    """Return clocks, power, temperature and processes of a GPU now.

    Args:
        gpu: the GPU or slice.
        own_pids: processes that `other_processes` does not count.
    """
    return DeviceState(
        sm_clock_mhz=_ask("nvmlDeviceGetClockInfo", gpu.board, CLOCK_SM),
        sm_clock_limit_mhz=_ask("nvmlDeviceGetMaxClockInfo", gpu.board, CLOCK_SM),
        memory_clock_mhz=_ask("nvmlDeviceGetClockInfo", gpu.board, CLOCK_MEMORY),
        power_limit_watts=_watts("nvmlDeviceGetEnforcedPowerLimit", gpu),
        power_watts=_watts("nvmlDeviceGetPowerUsage", gpu),
        temperature_celsius=_ask("nvmlDeviceGetTemperature", gpu.board, TEMPERATURE_GPU),
        throttle_reasons=_throttle_reasons(gpu),
        other_processes=_other_processes(gpu, own_pids),
        gpu_utilization_percent=getattr(
            _ask("nvmlDeviceGetUtilizationRates", gpu.board), "gpu", None
        ),
        memory_free_bytes=getattr(_ask("nvmlDeviceGetMemoryInfo", gpu.device), "free", None),
    )


def read_energy_millijoules(gpu: GpuHandle) -> int | None:
    """Return the energy of the board since the driver was loaded.

    The counter moves every 20 to 100 ms, so take differences over seconds. Under MIG it counts all
    slices together.
    """
    energy: int | None = _ask("nvmlDeviceGetTotalEnergyConsumption", gpu.board)
    return energy


def decode_throttle_reasons(mask: int) -> tuple[str, ...]:
    """Return the names of the bits set in an nvmlClocksEventReasons mask, lowest bit first."""
    bits = [1 << position for position in range(mask.bit_length()) if mask >> position & 1]
    return tuple(THROTTLE_REASONS.get(bit, f"unknown_{bit:#x}") for bit in bits)


def _throttle_reasons(gpu: GpuHandle) -> tuple[str, ...] | None:
    """Return what limits the clocks now; older drivers have the function under its older name."""
    mask = _ask("nvmlDeviceGetCurrentClocksEventReasons", gpu.board)
    if mask is None:
        mask = _ask("nvmlDeviceGetCurrentClocksThrottleReasons", gpu.board)
    return None if mask is None else decode_throttle_reasons(mask)


def _watts(function: str, gpu: GpuHandle) -> float | None:
    """Return a power in watts; NVML counts milliwatts."""
    milliwatts = _ask(function, gpu.board)
    return None if milliwatts is None else milliwatts / 1000


def _other_processes(gpu: GpuHandle, own_pids: Collection[int]) -> int | None:
    """Count compute processes of others on the device.

    In a container NVML can list the host's PIDs (gpu-monitoring-tools#63), which do not exist here.
    If none of ours is in the list, one such PID counts as ours.
    """
    import psutil  # here: `cnnperf compare` imports this module for constants only

    processes = _ask("nvmlDeviceGetComputeRunningProcesses", gpu.device)
    if processes is None:
        return None
    pids = {process.pid for process in processes}
    strangers = pids.difference(own_pids)
    hidden = {pid for pid in strangers if attempt(psutil.pid_exists, pid) is False}
    is_us = bool(hidden) and strangers == pids
    return len(strangers) - int(is_us)
