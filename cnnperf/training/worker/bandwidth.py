"""The device's memory bandwidth: what a large copy moves, measured where floors are asked for.

A copy reads and writes as a fused kernel does, so it is the fair ceiling for one; what reads more
than it writes can be a little faster. The arrays are many times the last cache, else the cache
would be measured.
"""

from __future__ import annotations

import time
from pathlib import Path

import psutil
import torch

from cnnperf.record.messages import Ceiling
from cnnperf.training.clock import synchronize
from cnnperf.training.worker.matmul_peak import ceiling

TIMES_THE_CACHE = 16
"""Of each of both arrays: what the cache still holds of the last copy is then a small part."""

LEAST_BYTES = 2**28
"""Of an array, also where no cache is known."""

MEMORY_SHARE = 1 / 8
"""Of the free memory, at most, for each array."""

SAMPLE_SECONDS = 0.02
"""Copies are queued until they take this long: waiting for a device costs some microseconds."""

BUDGET_SECONDS = 2.0
MIN_SAMPLES = 5


def measure_copy(device: torch.device, cache_bytes: int | None) -> Ceiling:
    """Bytes read and written per second, by copies of one large array to another."""
    source = torch.empty(_array_bytes(device, cache_bytes), dtype=torch.uint8, device=device)
    source.zero_()  # memory that nobody has written to is not there yet
    target = source.clone()
    first = _copy_seconds(source, target, 1)
    copies = max(1, round(SAMPLE_SECONDS / first))
    seconds: list[float] = []
    deadline = time.perf_counter() + BUDGET_SECONDS
    while len(seconds) < MIN_SAMPLES or time.perf_counter() < deadline:
        seconds.append(_copy_seconds(source, target, copies))
    return ceiling(2.0 * source.numel() * copies, seconds)


def _array_bytes(device: torch.device, cache_bytes: int | None) -> int:
    wanted = max(LEAST_BYTES, TIMES_THE_CACHE * (cache_bytes or 0))
    return min(wanted, int(_free_bytes(device) * MEMORY_SHARE))


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def _copy_seconds(source: torch.Tensor, target: torch.Tensor, copies: int) -> float:
    synchronize(source.device)
    start = time.perf_counter()
    for _ in range(copies):
        target.copy_(source)
    synchronize(source.device)
    return time.perf_counter() - start


def last_cache_bytes(device: torch.device) -> int | None:
    """The largest cache between arithmetic and memory; None where it cannot be told."""
    if device.type == "cuda":
        return getattr(torch.cuda.get_device_properties(device), "L2_cache_size", None)
    return _cpu_cache_bytes() if device.type == "cpu" else None


def _cpu_cache_bytes() -> int | None:
    """Of the first core, as Linux lists it in KiB."""
    folder = Path("/sys/devices/system/cpu/cpu0/cache")
    found = [
        int(text[:-1]) * 1024
        for path in folder.glob("index*/size")
        if (text := path.read_text().strip()).endswith("K") and text[:-1].isdigit()
    ]
    return max(found, default=None)
