"""What is switched on in this process: torch's flags as they are in force, and the environment.

torch has two APIs for TF32, old (`allow_tf32`) and new (`fp32_precision`), and from 2.9 on the
old one raises once both were used. So the new one is asked first, the old one where it is silent.

    python -c "from cnnperf.machine.settings import *; print(
        read_settings(device='cpu', with_torch=True))"
"""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any

from cnnperf.machine.attempt import attempt
from cnnperf.machine.host import cpu_affinity_cores
from cnnperf.machine.visible_gpus import hide_uuids
from cnnperf.record.environment import Settings


def read_settings(*, device: str, with_torch: bool) -> Settings:
    """Settings of this process; torch's are None unless it is loaded or may be loaded now."""
    found: dict[str, object] = {
        "device": device,
        "allocator_config": _allocator_config(),
        "malloc_tunables": os.environ.get("GLIBC_TUNABLES") or None,
        "visible_devices": hide_uuids(os.environ.get("CUDA_VISIBLE_DEVICES")),
        "cpu_affinity_cores": cpu_affinity_cores(),
    }
    torch: Any = sys.modules.get("torch")
    if torch is None and with_torch:
        torch = attempt(lambda: importlib.import_module("torch"))
    if torch is not None:
        found |= _torch_settings(torch, device.partition(":")[0])
    return Settings.model_validate(found)


def _allocator_config() -> str | None:
    """The caching allocator's configuration, under its new name or its old one."""
    names = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")
    return next((os.environ[name] for name in names if os.environ.get(name)), None)


def _torch_settings(torch: Any, device_type: str) -> dict[str, object]:
    """Flags in force in this process; reading them changes none and starts no CUDA."""
    return {
        "tf32_matmul": tf32_matmul(torch),
        "tf32_cudnn": tf32_cudnn(torch),
        "float32_matmul_precision": _quietly(lambda: torch.get_float32_matmul_precision()),
        "cudnn_benchmark": _quietly(lambda: torch.backends.cudnn.benchmark),
        "cudnn_deterministic": _quietly(lambda: torch.backends.cudnn.deterministic),
        "deterministic_algorithms": _quietly(lambda: torch.are_deterministic_algorithms_enabled()),
        "autocast_dtype": _quietly(lambda: _autocast_dtype(torch, device_type)),
        "torch_threads": _quietly(lambda: torch.get_num_threads()),
        "torch_interop_threads": _quietly(lambda: torch.get_num_interop_threads()),
    }


def tf32_matmul(torch: Any) -> bool | None:
    """Whether float32 matrix products on CUDA use TF32 now."""
    return _uses_tf32(
        lambda: torch.backends.cuda.matmul.fp32_precision,
        lambda: torch.backends.cuda.matmul.allow_tf32,
    )


def tf32_cudnn(torch: Any) -> bool | None:
    """Whether float32 convolutions on CUDA use TF32 now."""
    return _uses_tf32(
        lambda: torch.backends.cudnn.conv.fp32_precision,
        lambda: torch.backends.cudnn.allow_tf32,
    )


def _uses_tf32(new: Callable[[], str], old: Callable[[], bool]) -> bool | None:
    """The new API's answer; `none` there means unset, and a torch without it has the old one."""
    precision: str | None = _quietly(new)
    if precision in ("tf32", "ieee"):
        return precision == "tf32"
    allowed: bool | None = _quietly(old)
    return False if allowed is None and precision == "none" else allowed


def _autocast_dtype(torch: Any, device_type: str) -> str | None:
    """The dtype that autocast uses on this kind of device, while it is on."""
    if not torch.is_autocast_enabled(device_type):
        return None
    return str(torch.get_autocast_dtype(device_type)).removeprefix("torch.")


def _quietly(read: Callable[[], Any]) -> Any:
    """The answer without the deprecation warnings that asking may cause; None where it fails."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return attempt(read)
