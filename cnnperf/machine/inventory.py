"""Collect what stays the same during a run: hardware, software, and the settings of this process.

The worker adds what only torch can read (`cnnperf.training.worker.torch_environment`).

    python -c "from cnnperf.machine.inventory import *; print(collect_environment(device='cpu'))"
"""

from __future__ import annotations

import os

from cnnperf.machine import nvml
from cnnperf.machine.host import cpu_affinity_cores, read_host
from cnnperf.machine.software import read_software
from cnnperf.machine.visible_gpus import hide_uuids, visible_gpu_handle
from cnnperf.record.environment import Environment, Hardware, Settings

ALLOCATOR_VARIABLES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")
"""The configuration of torch's caching allocator, under its new name and its old one."""


def collect_environment(*, device: str, gpu_uuid: str | None = None) -> Environment:
    """Collect hardware, software and settings; what cannot be read is None.

    Args:
        device: what the run trains on, as torch spells it: `cpu`, `cuda`, `cuda:1`, `mps`.
        gpu_uuid: UUID of the run's GPU, where torch has started CUDA and so reports it.
    """
    number = device.partition(":")[2]
    return Environment(
        hardware=read_hardware(int(number) if number.isdigit() else 0, gpu_uuid),
        software=read_software(),
        settings=read_settings(device=device),
    )


def read_hardware(ordinal: int = 0, gpu_uuid: str | None = None) -> Hardware:
    """Read the host, and the GPU of this UUID or else the one that CUDA counts as `ordinal`."""
    handle = nvml.open_gpu(gpu_uuid) if gpu_uuid else visible_gpu_handle(ordinal)
    gpu = None if handle is None else nvml.read_gpu(handle)
    count = nvml.count_gpus() if nvml.is_available() else None
    return read_host().model_copy(update={"gpu": gpu, "gpu_count": count})


def read_settings(*, device: str) -> Settings:
    """Read the settings that need no torch: environment variables and CPU affinity."""
    allocator = (os.environ.get(name) for name in ALLOCATOR_VARIABLES)
    return Settings(
        device=device,
        allocator_config=next(filter(None, allocator), None),
        malloc_tunables=os.environ.get("GLIBC_TUNABLES") or None,
        visible_devices=hide_uuids(os.environ.get("CUDA_VISIBLE_DEVICES")),
        cpu_affinity_cores=cpu_affinity_cores(),
    )
