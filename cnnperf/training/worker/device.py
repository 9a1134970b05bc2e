"""The worker's device: choose it, make it deterministic, and read its peak memory."""

from __future__ import annotations

import os

import torch

from cnnperf.errors import NotInstalledError
from cnnperf.machine.host import process_peak_bytes

AUTO_ORDER = ("cuda", "xpu", "mps")
"""What `auto` prefers, in this order, to the CPU."""

CUBLAS_VARIABLE = "CUBLAS_WORKSPACE_CONFIG"
CUBLAS_WORKSPACE = ":4096:8"
"""Eight buffers of 4 MiB, always: with another workspace cuBLAS may sum in another order (cuBLAS
manual; "Reproducibility" in torch's notes)."""


def choose_device(name: str, ordinal: int = 0) -> torch.device:
    """Return the device for `auto`, `cpu`, `cuda`, `mps` or `xpu`; of several, that at `ordinal`.

    Raises:
        NotInstalledError: this torch cannot use the device.
    """
    if name == "auto":
        name = next((kind for kind in AUTO_ORDER if _is_available(kind)), "cpu")
    elif not _is_available(name):
        raise NotInstalledError(
            f"device {name} cannot be used by torch {torch.__version__} here; possible: "
            + ", ".join(kind for kind in (*AUTO_ORDER, "cpu") if _is_available(kind))
        )
    return torch.device(name, ordinal) if name in ("cuda", "xpu") else torch.device(name)


def _is_available(name: str) -> bool:
    backend = torch.backends.mps if name == "mps" else getattr(torch, name, None)
    return name == "cpu" or (backend is not None and bool(backend.is_available()))


def be_deterministic() -> None:
    """Make this process compute the same bits every time; call it before CUDA starts.

    From then on, an operation without a deterministic algorithm raises a RuntimeError. Another
    number of threads, processor or library may still change the bits.
    """
    os.environ[CUBLAS_VARIABLE] = CUBLAS_WORKSPACE
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False


def reset_peak(device: torch.device) -> None:
    """Reset the peak memory, if the device supports it."""
    if device.type in ("cuda", "xpu"):
        getattr(torch, device.type).reset_peak_memory_stats(device)


def peak_bytes(device: torch.device) -> int | None:
    """Return the device allocator's peak bytes; on a CPU, the peak resident memory (RSS).

    None if the device has no such figure.
    """
    if device.type in ("cuda", "xpu"):
        return int(getattr(torch, device.type).max_memory_allocated(device))
    return process_peak_bytes() if device.type == "cpu" else None
