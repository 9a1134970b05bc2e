"""Measure the device's ceilings: FLOP/s of matrix products and bytes per second of copies.

A data sheet gives what a chip could do. These figures give what this machine, driver and library do
today, in the same run. MFU and floors are relative to them. The best of several timings counts,
because noise only adds time.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import torch

from cnnperf.record.messages import Ceiling
from cnnperf.training.clock import synchronize

SIZES = (256, 512, 1024, 2048, 4096, 8192, 16384)
"""Rows of the square matrices, in the order of the trials. Large ones hide the launch of a kernel,
but a CPU without bfloat16 units takes seconds for a product of 1024 rows."""

LONG_ENOUGH_SECONDS = 0.2
"""A product of this duration is large enough; no larger one is tried."""

BUDGET_SECONDS = 2.0
"""Time for the largest matrices of each precision, and for copies."""

MIN_PRODUCTS = 3
MIN_COPY_SAMPLES = 5

CACHE_MULTIPLE = 16
"""Size of a copied array as a multiple of the last cache, so that the cache hardly matters."""

MIN_ARRAY_BYTES = 2**28
"""Smallest size of a copied array, also if no cache size is known."""

MEMORY_SHARE = 1 / 8
"""Largest share of the free memory for each of the two arrays."""

SAMPLE_SECONDS = 0.02
"""Copies are queued for this long, because synchronising takes some microseconds."""


def ceiling(amount: float, seconds: Sequence[float]) -> Ceiling:
    """Return the rate from several timings of the same amount of work."""
    return Ceiling(
        best=amount / min(seconds),
        median=amount / statistics.median(seconds),
        samples=len(seconds),
    )


# --- matrix products ----------------------------------------------------------------------------


def measure_matmul(device: torch.device) -> dict[str, Ceiling]:
    """Return the FLOP/s of a large matrix product in each precision of the device."""
    cuda = device.type == "cuda"
    peaks = {"float32": _matmul_peak(device, torch.float32, "ieee" if cuda else None)}
    if cuda and torch.cuda.get_device_capability(device) >= (8, 0):
        peaks["tf32"] = _matmul_peak(device, torch.float32, "tf32")
    peaks["bfloat16"] = _matmul_peak(device, torch.bfloat16)
    if device.type != "cpu":
        peaks["float16"] = _matmul_peak(device, torch.float16)
    return {precision: peak for precision, peak in peaks.items() if peak is not None}


def _matmul_peak(
    device: torch.device, dtype: torch.dtype, fp32_precision: str | None = None
) -> Ceiling | None:
    """Return the best FLOP/s over growing sizes, until one takes long enough or does not fit.

    None if the device has no product of this precision.
    """
    if fp32_precision is not None:
        torch.backends.cuda.matmul.fp32_precision = fp32_precision
    best = None
    for size in SIZES:
        try:
            seconds = _products(device, dtype, size)
        except RuntimeError:  # includes out of memory
            break
        found = ceiling(2.0 * size**3, seconds)
        best = found if best is None or found.best > best.best else best
        if min(seconds) >= LONG_ENOUGH_SECONDS:
            break
    return best


def _products(device: torch.device, dtype: torch.dtype, size: int) -> list[float]:
    """Time products of this size, the largest for the whole budget."""
    left = torch.randn(size, size, device=device).to(dtype)
    right = torch.randn(size, size, device=device).to(dtype)
    torch.matmul(left[:256], right)  # loads the library's kernels
    seconds = [_product_seconds(left, right, device)]
    last = seconds[0] >= LONG_ENOUGH_SECONDS or size == SIZES[-1]
    deadline = time.perf_counter() + (BUDGET_SECONDS if last else 0.0)
    while len(seconds) < MIN_PRODUCTS or time.perf_counter() < deadline:
        seconds.append(_product_seconds(left, right, device))
    return seconds


def _product_seconds(left: torch.Tensor, right: torch.Tensor, device: torch.device) -> float:
    synchronize(device)
    start = time.perf_counter()
    torch.matmul(left, right)
    synchronize(device)
    return time.perf_counter() - start


# --- copies -------------------------------------------------------------------------------------


def measure_copy(device: torch.device, cache_bytes: int | None) -> Ceiling:
    """Return the bytes read and written per second by copies of one large array to another.

    A copy reads as much as it writes, like a fused kernel. A kernel that reads more than it writes
    can be a little faster.
    """
    source = torch.empty(_array_bytes(device, cache_bytes), dtype=torch.uint8, device=device)
    source.zero_()  # the system allocates memory at the first write
    target = source.clone()
    first = _copy_seconds(source, target, 1)
    copies = max(1, round(SAMPLE_SECONDS / first))
    seconds: list[float] = []
    deadline = time.perf_counter() + BUDGET_SECONDS
    while len(seconds) < MIN_COPY_SAMPLES or time.perf_counter() < deadline:
        seconds.append(_copy_seconds(source, target, copies))
    return ceiling(2.0 * source.numel() * copies, seconds)


def _array_bytes(device: torch.device, cache_bytes: int | None) -> int:
    wanted = max(MIN_ARRAY_BYTES, CACHE_MULTIPLE * (cache_bytes or 0))
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
    """Return the size of the largest cache of the device; None if it is unknown."""
    if device.type == "cuda":
        return getattr(torch.cuda.get_device_properties(device), "L2_cache_size", None)
    if device.type != "cpu":
        return None
    # Linux lists the caches of the first core in KiB.
    sizes = Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")
    texts = [path.read_text().strip() for path in sizes]
    kibibytes = [int(text[:-1]) for text in texts if text.endswith("K") and text[:-1].isdigit()]
    return max(kibibytes, default=0) * 1024 or None
