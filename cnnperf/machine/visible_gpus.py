"""Which GPU is this process's first: CUDA's numbering translated to NVML's, torch-free.

CUDA counts only what `CUDA_VISIBLE_DEVICES` shows, fastest first; NVML counts all, in PCI order.
Reading the wrong card's clocks is worse than reading none, so what stays ambiguous is None.

    python -c "from cnnperf.machine.visible_gpus import *; print(visible_gpu_handle())"
"""

from __future__ import annotations

import os
import re
import sys
from typing import Any

from cnnperf.machine import nvml
from cnnperf.machine.attempt import attempt
from cnnperf.machine.nvml import GpuHandle


def visible_gpu_handle(ordinal: int = 0) -> GpuHandle | None:
    """The NVML handle of this process's CUDA device `ordinal`; None where that is unknown.

    Exact where torch has CUDA running in this process. Else `CUDA_VISIBLE_DEVICES` is read, and
    unlike GPUs are told apart only under `CUDA_DEVICE_ORDER=PCI_BUS_ID` or by UUID.
    """
    uuid = _uuid_from_torch(ordinal)
    if uuid is not None:
        return nvml.open_gpu(uuid)
    entries = parse_visible_devices(os.environ.get("CUDA_VISIBLE_DEVICES"))
    if entries is None:
        return _gpu_by_cuda_index(ordinal)
    if not 0 <= ordinal < len(entries):
        return None
    entry = entries[ordinal]
    return nvml.open_gpu(entry) if isinstance(entry, str) else _gpu_by_cuda_index(entry)


def parse_visible_devices(value: str | None) -> list[int | str] | None:
    """The devices that a `CUDA_VISIBLE_DEVICES` shows, in order; None where it is unset.

    CUDA's rules: the list ends before the first entry that is not valid, a device named twice
    hides all, and a number may be followed by anything.
    """
    if value is None:
        return None
    entries: list[int | str] = []
    prefix = next((prefix for prefix in ("GPU-", "MIG-") if value.startswith(prefix)), None)
    for text in value.split(","):
        entry = _entry(text, prefix)
        if entry in entries:
            return []
        if entry is None:
            break
        entries.append(entry)
    return entries


def _entry(text: str, prefix: str | None) -> int | str | None:
    """One entry: a UUID that begins as the first one did, or a number; None ends the list."""
    if prefix is not None:
        return text if text.startswith(prefix) else None
    number = re.match(r"\s*\+?(\d+)", text)
    return int(number[1]) if number else None


def hide_uuids(value: str | None) -> str | None:
    """A `CUDA_VISIBLE_DEVICES` fit for a record: UUIDs hashed, numbers as they are."""
    if value is None:
        return None
    entries = [text.strip() for text in value.split(",")]
    hashed = [
        nvml.hash_uuid(text) if text.startswith(("GPU-", "MIG-")) else text for text in entries
    ]
    return ",".join(hashed)


def _uuid_from_torch(ordinal: int) -> str | None:
    """The UUID of a CUDA device as torch knows it, if torch runs CUDA in this process already."""
    torch: Any = sys.modules.get("torch")
    if attempt(lambda: torch.cuda.is_initialized()) is not True:
        return None
    return attempt(lambda: str(torch.cuda.get_device_properties(ordinal).uuid))


def _gpu_by_cuda_index(index: int) -> GpuHandle | None:
    """The GPU at an index as CUDA counts; the first slice where it is split by MIG."""
    if not _orders_agree():
        return None
    gpu = nvml.open_gpu(index)
    if gpu is None or not nvml.mig_enabled(gpu):
        return gpu
    return next(nvml.mig_slices(gpu), None)


def _orders_agree() -> bool:
    """Whether CUDA counts GPUs as NVML does: asked to, or all of them are alike."""
    if os.environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID":
        return True
    gpus = [nvml.open_gpu(index) for index in range(nvml.count_gpus())]
    return len({nvml.name_of(gpu) for gpu in gpus if gpu is not None}) <= 1
