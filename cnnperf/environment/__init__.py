"""What this machine is, what state it is in, and whether that state spoils a measurement.

Torch-free: nothing here imports torch at import, and `collect_environment` only if told to. NVML
is loaded on the first question. Whatever cannot be found out is None; nothing here raises for it.

    python -c "from cnnperf.environment import *; print(collect_environment(
        device='cpu', with_torch=False).model_dump_json(indent=2))"
"""

from __future__ import annotations

from cnnperf.environment.collect import collect_environment, read_hardware
from cnnperf.environment.flags import (
    TORCH_DEFAULT_TF32,
    Tf32,
    cpu_flags,
    governor_flags,
    memory_flags,
    process_flags,
    run_flags,
    tf32_flags,
    throttle_flags,
)
from cnnperf.environment.host import read_host, read_host_state
from cnnperf.environment.nvml import (
    HARMFUL_THROTTLE_REASONS,
    GpuHandle,
    count_gpus,
    decode_throttle_reasons,
    open_gpu,
    read_device_state,
    read_energy_millijoules,
    read_gpu,
)
from cnnperf.environment.schema import (
    DeviceState,
    DuringState,
    Environment,
    Flag,
    Gpu,
    Hardware,
    HostState,
    Settings,
    Software,
    State,
)
from cnnperf.environment.settings import read_settings
from cnnperf.environment.software import read_software
from cnnperf.environment.state import StateSampler, read_state
from cnnperf.environment.visible import visible_gpu_handle

__all__ = [
    "HARMFUL_THROTTLE_REASONS",
    "TORCH_DEFAULT_TF32",
    "DeviceState",
    "DuringState",
    "Environment",
    "Flag",
    "Gpu",
    "GpuHandle",
    "Hardware",
    "HostState",
    "Settings",
    "Software",
    "State",
    "StateSampler",
    "Tf32",
    "collect_environment",
    "count_gpus",
    "cpu_flags",
    "decode_throttle_reasons",
    "governor_flags",
    "memory_flags",
    "open_gpu",
    "process_flags",
    "read_device_state",
    "read_energy_millijoules",
    "read_gpu",
    "read_hardware",
    "read_host",
    "read_host_state",
    "read_settings",
    "read_software",
    "read_state",
    "run_flags",
    "tf32_flags",
    "throttle_flags",
    "visible_gpu_handle",
]
