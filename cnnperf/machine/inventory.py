"""One call for everything that stays the same during a run."""

from __future__ import annotations

import importlib
from typing import Any

from cnnperf.machine import nvml
from cnnperf.machine.attempt import attempt
from cnnperf.machine.host import read_host
from cnnperf.machine.settings import read_settings
from cnnperf.machine.software import read_software
from cnnperf.machine.visible_gpus import visible_gpu_handle
from cnnperf.record.environment import Environment, Gpu, Hardware


def collect_environment(*, device: str, with_torch: bool) -> Environment:
    """Hardware, software and settings of this process; what cannot be found is None.

    Args:
        device: what the run trains on, as torch spells it: `cpu`, `cuda`, `cuda:1`, `mps`.
        with_torch: import torch for what only it knows. On a CUDA device this starts CUDA.
    """
    return Environment(
        hardware=read_hardware(device=device, with_torch=with_torch, ordinal=_ordinal(device)),
        software=read_software(with_torch=with_torch),
        settings=read_settings(device=device, with_torch=with_torch),
    )


def read_hardware(*, device: str, with_torch: bool, ordinal: int = 0) -> Hardware:
    """The host and the GPU that CUDA counts as `ordinal`."""
    use_cuda = with_torch and device.startswith("cuda")
    # torch first: with CUDA running, the handle below is exact.
    from_torch = (attempt(lambda: _gpu_from_torch(ordinal)) or {}) if use_cuda else {}
    handle = visible_gpu_handle(ordinal)
    seen = {} if handle is None else nvml.read_gpu(handle).model_dump(exclude_none=True)
    gpu = Gpu.model_validate(from_torch | seen) if from_torch or seen else None
    count = nvml.count_gpus() if nvml.is_available() else None
    return read_host().model_copy(update={"gpu": gpu, "gpu_count": count})


def _gpu_from_torch(ordinal: int) -> dict[str, object]:
    """What torch knows of a CUDA device: the L2 size, and all that stands where NVML is missing."""
    torch: Any = importlib.import_module("torch")
    properties = torch.cuda.get_device_properties(ordinal)
    return {
        "name": properties.name,
        "compute_capability": f"{properties.major}.{properties.minor}",
        "sm_count": properties.multi_processor_count,
        "memory_bytes": properties.total_memory,
        "l2_cache_bytes": attempt(lambda: properties.L2_cache_size),
    }


def _ordinal(device: str) -> int:
    """The number in `cuda:1`; 0 without one."""
    number = device.partition(":")[2]
    return int(number) if number.isdigit() else 0
