"""The most memory that a training took."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import torch


def reset_peak(device: torch.device) -> None:
    """Forget the peak so far, where the device can."""
    if device.type in ("cuda", "xpu"):
        getattr(torch, device.type).reset_peak_memory_stats(device)


def peak_bytes(device: torch.device) -> int | None:
    """Most bytes its allocator had handed out; on a CPU, most that this process held (RSS).

    None where the device keeps no such figure.
    """
    if device.type in ("cuda", "xpu"):
        return int(getattr(torch, device.type).max_memory_allocated(device))
    return process_peak_bytes() if device.type == "cpu" else None


def process_peak_bytes() -> int:
    """Most memory that this process has held (RSS).

    Linux's own figure first: `ru_maxrss` there starts from what the parent held before `exec`.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
