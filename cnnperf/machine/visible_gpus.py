"""Find this process's GPU: translate CUDA's numbering to NVML's.

CUDA counts only what `CUDA_VISIBLE_DEVICES` shows, fastest first; NVML counts all, in PCI order.
Reading the wrong card's clocks is worse than reading none, so an ambiguous answer is None.

    python -c "from cnnperf.machine.visible_gpus import *; print(visible_gpu_handle())"
"""

from __future__ import annotations

import os
import re

from cnnperf.machine import nvml
from cnnperf.machine.nvml import GpuHandle

UUID_PREFIXES = ("GPU-", "MIG-")


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
    return nvml.open_gpu(entry) if isinstance(entry, str) else _gpu_by_cuda_index(entry)


def parse_visible_devices(value: str | None) -> list[int | str] | None:
    """Return the devices that `CUDA_VISIBLE_DEVICES` shows, in order; None where it is unset.

    CUDA's rules: the list ends before the first invalid entry, a device named twice hides all, and
    a number may be followed by anything.
    """
    if value is None:
        return None
    entries: list[int | str] = []
    prefix = next(filter(value.startswith, UUID_PREFIXES), None)
    for text in value.split(","):
        entry = _entry(text, prefix)
        if entry in entries:
            return []
        if entry is None:
            break
        entries.append(entry)
    return entries


def _entry(text: str, prefix: str | None) -> int | str | None:
    """Parse one entry: a UUID with the prefix of the first one, or a number; None ends the list."""
    if prefix is not None:
        return text if text.startswith(prefix) else None
    number = re.match(r"\s*\+?(\d+)", text)
    return int(number[1]) if number else None


def hide_uuids(value: str | None) -> str | None:
    """Return a `CUDA_VISIBLE_DEVICES` for a record: UUIDs hashed, numbers unchanged."""
    if value is None:
        return None
    entries = [text.strip() for text in value.split(",")]
    return ",".join(nvml.hash_uuid(e) if e.startswith(UUID_PREFIXES) else e for e in entries)


def _gpu_by_cuda_index(index: int) -> GpuHandle | None:
    """Return the GPU at CUDA's index; the first slice where MIG splits it."""
    if not _orders_agree():
        return None
    gpu = nvml.open_gpu(index)
    if gpu is None or not nvml.mig_enabled(gpu):
        return gpu
    return next(nvml.mig_slices(gpu), None)


def _orders_agree() -> bool:
    """Return whether CUDA counts GPUs as NVML does: it was set to, or all GPUs are alike."""
    if os.environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID":
        return True
    gpus = [nvml.open_gpu(index) for index in range(nvml.count_gpus())]
    return len({nvml.name_of(gpu) for gpu in gpus if gpu is not None}) <= 1
