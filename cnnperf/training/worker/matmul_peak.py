"""The device's matmul peak: what MFU is measured against, in the same run.

A data sheet's figure says what a chip could do; this says what this machine, driver and library
do today. The best of several products counts: noise only ever makes one slower.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import torch

from cnnperf.record.messages import Ceiling
from cnnperf.training.clock import synchronize

SIZES = (256, 512, 1024, 2048, 4096, 8192, 16384)
"""Rows of the square matrices, tried in this order: starting the kernel must not show, but a CPU
without units for bfloat16 takes seconds for a product of 1024 rows."""

LONG_ENOUGH_SECONDS = 0.2
"""A product that takes this long is large enough; a slow device is not given larger ones."""

BUDGET_SECONDS = 2.0
"""Spent on each precision, on the largest matrices."""

MIN_PRODUCTS = 3


def measure_matmul_peaks(device: torch.device) -> dict[str, float]:
    """FLOP/s of a large matrix product, for each precision that the device has."""
    return {precision: found.best for precision, found in measure_matmul(device).items()}


def measure_matmul(device: torch.device) -> dict[str, Ceiling]:
    """The same, with what the products differ by."""
    cuda = device.type == "cuda"
    peaks = {"float32": _peak(device, torch.float32, "ieee" if cuda else None)}
    if cuda and torch.cuda.get_device_capability(device) >= (8, 0):
        peaks["tf32"] = _peak(device, torch.float32, "tf32")
    peaks["bfloat16"] = _peak(device, torch.bfloat16)
    if device.type != "cpu":
        peaks["float16"] = _peak(device, torch.float16)
    return {precision: peak for precision, peak in peaks.items() if peak is not None}


def _peak(
    device: torch.device, dtype: torch.dtype, fp32_precision: str | None = None
) -> Ceiling | None:
    """FLOP/s in the best size: sizes grow until one is large enough, which is then repeated.

    A size that the device has no memory for ends the growth; None where it has no such product.
    """
    if fp32_precision is not None:
        torch.backends.cuda.matmul.fp32_precision = fp32_precision
    best = None
    for size in SIZES:
        try:
            seconds = _products(device, dtype, size)
        except RuntimeError:  # out of memory is one too
            break
        found = ceiling(2.0 * size**3, seconds)
        best = found if best is None or found.best > best.best else best
        if min(seconds) >= LONG_ENOUGH_SECONDS:
            break
    return best


def ceiling(amount: float, seconds: Sequence[float]) -> Ceiling:
    """What was done per second, of timings of the same amount."""
    return Ceiling(
        best=amount / min(seconds),
        median=amount / statistics.median(seconds),
        samples=len(seconds),
    )


def _products(device: torch.device, dtype: torch.dtype, size: int) -> list[float]:
    """Seconds of each product of this size; the largest is given the budget."""
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
