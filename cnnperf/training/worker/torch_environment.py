"""Read torch's part of the environment: its settings, its versions, and the GPU as CUDA sees it.

`cnnperf.machine` reads everything else. A value that this build of torch lacks is None.

torch has two APIs for TF32, an old one (`allow_tf32`) and a new one (`fp32_precision`). From 2.9 on
the old one raises once both were used, so the new one is read first.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from typing import Any

import torch

from cnnperf.machine.host import attempt
from cnnperf.machine.inventory import collect_environment, read_settings
from cnnperf.record.environment import Environment, Gpu, Settings


def environment_with_torch(device: torch.device) -> Environment:
    """Return the environment of this process, torch's part included.

    On a CUDA device this starts CUDA, so that the GPU's UUID identifies it for NVML.
    """
    gpu, uuid = gpu_from_torch(device.index or 0) if device.type == "cuda" else ({}, None)
    found = collect_environment(device=device.type, gpu_uuid=uuid)
    hardware = found.hardware
    if gpu:
        from_nvml = hardware.gpu.model_dump(exclude_none=True) if hardware.gpu else {}
        hardware = hardware.model_copy(update={"gpu": Gpu.model_validate(gpu | from_nvml)})
    return Environment(
        hardware=hardware,
        software=found.software.model_copy(update=torch_software()),
        settings=settings_with_torch(device),
    )


def settings_with_torch(device: torch.device) -> Settings:
    """Return the settings of this process, torch's flags included."""
    return read_settings(device=device.type).model_copy(update=torch_settings(device.type))


def gpu_from_torch(ordinal: int) -> tuple[dict[str, object], str | None]:
    """Return the `Gpu` fields of a CUDA device, and its UUID without a prefix.

    torch is the only source of the L2 size, and of all fields where NVML is missing.
    """
    properties: Any = attempt(torch.cuda.get_device_properties, ordinal)
    if properties is None:
        return {}, None
    fields: dict[str, object] = {
        "name": properties.name,
        "compute_capability": f"{properties.major}.{properties.minor}",
        "sm_count": properties.multi_processor_count,
        "memory_bytes": properties.total_memory,
        "l2_cache_bytes": attempt(lambda: properties.L2_cache_size),
    }
    return fields, attempt(lambda: str(properties.uuid))


def torch_software() -> dict[str, object]:
    """Return the versions that the loaded torch reports, without those that it lacks."""
    cudnn = attempt(torch.backends.cudnn.version)
    nccl = attempt(lambda: torch.cuda.nccl.version())  # type: ignore[no-untyped-call]
    build = attempt(lambda: torch.__config__.show())
    found = {
        "torch": str(torch.__version__),
        "torch_git": attempt(lambda: torch.version.git_version),
        "cuda_runtime": attempt(lambda: torch.version.cuda),
        "cudnn": cudnn_version(cudnn) if cudnn else None,
        "nccl": ".".join(map(str, nccl)) if nccl else None,
        "torch_build_config": hashlib.sha256(build.encode()).hexdigest()[:16] if build else None,
    }
    return {name: value for name, value in found.items() if value is not None}


def cudnn_version(number: int) -> str:
    """Return cuDNN's version number as text: 92600 is `9.26.0`; up to 8, 8902 is `8.9.2`."""
    major, rest = divmod(number, 10_000 if number >= 90_000 else 1_000)
    return f"{major}.{rest // 100}.{rest % 100}"


def torch_settings(device_type: str) -> dict[str, object]:
    """Return the flags in force in this process. Reading them changes none and starts no CUDA."""
    return {
        "tf32_matmul": tf32_matmul(),
        "tf32_cudnn": tf32_cudnn(),
        "float32_matmul_precision": _quietly(torch.get_float32_matmul_precision),
        "cudnn_benchmark": _quietly(lambda: torch.backends.cudnn.benchmark),
        "cudnn_deterministic": _quietly(lambda: torch.backends.cudnn.deterministic),
        "deterministic_algorithms": _quietly(torch.are_deterministic_algorithms_enabled),
        "autocast_dtype": _quietly(
            lambda: (
                str(torch.get_autocast_dtype(device_type)).removeprefix("torch.")
                if torch.is_autocast_enabled(device_type)
                else None
            )
        ),
        "torch_threads": _quietly(torch.get_num_threads),
        "torch_interop_threads": _quietly(torch.get_num_interop_threads),
    }


def tf32_matmul() -> bool | None:
    """Return whether float32 matrix products on CUDA use TF32 now."""
    return _uses_tf32(
        lambda: torch.backends.cuda.matmul.fp32_precision,
        lambda: torch.backends.cuda.matmul.allow_tf32,
    )


def tf32_cudnn() -> bool | None:
    """Return whether float32 convolutions on CUDA use TF32 now."""
    cudnn: Any = torch.backends.cudnn
    return _uses_tf32(lambda: cudnn.conv.fp32_precision, lambda: cudnn.allow_tf32)


def _uses_tf32(new: Callable[[], str], old: Callable[[], bool]) -> bool | None:
    """Read the new API; `none` there means unset, and a torch without it has the old one."""
    precision: str | None = _quietly(new)
    if precision in ("tf32", "ieee"):
        return precision == "tf32"
    allowed: bool | None = _quietly(old)
    return False if allowed is None and precision == "none" else allowed


def _quietly(read: Callable[[], Any]) -> Any:
    """Read without the deprecation warnings that reading may cause; None where it fails."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return attempt(read)
