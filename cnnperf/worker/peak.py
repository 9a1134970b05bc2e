"""The device's matmul peak: what MFU is measured against, in the same run.

A data sheet's figure says what a chip could do; this says what this machine, driver and library
do today. The best of several products counts: noise only ever makes one slower.
"""

from __future__ import annotations

import time

import torch

from cnnperf.clock import synchronize

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
) -> float | None:
    """FLOP/s of the best product: sizes grow until one is large enough, which is then repeated.

    A size that the device has no memory for ends the growth; None where it has no such product.
    """
    if fp32_precision is not None:
        torch.backends.cuda.matmul.fp32_precision = fp32_precision
    best = None
    for size in SIZES:
        try:
            best, seconds = _best_of(device, dtype, size, best or 0.0)
        except RuntimeError:  # out of memory is one too
            break
        if seconds >= LONG_ENOUGH_SECONDS:
            break
    return best


def _best_of(
    device: torch.device, dtype: torch.dtype, size: int, best: float
) -> tuple[float, float]:
    """The best FLOP/s so far, and the time of one product of this size."""
    left = torch.randn(size, size, device=device).to(dtype)
    right = torch.randn(size, size, device=device).to(dtype)
    torch.matmul(left[:256], right)  # loads the library's kernels
    fastest = _product_seconds(left, right, device)
    last = fastest >= LONG_ENOUGH_SECONDS or size == SIZES[-1]
    deadline = time.perf_counter() + (BUDGET_SECONDS if last else 0.0)
    products = 1
    while products < MIN_PRODUCTS or time.perf_counter() < deadline:
        fastest = min(fastest, _product_seconds(left, right, device))
        products += 1
    return max(best, 2.0 * size**3 / fastest), fastest


def _product_seconds(left: torch.Tensor, right: torch.Tensor, device: torch.device) -> float:
    synchronize(device)
    start = time.perf_counter()
    torch.matmul(left, right)
    synchronize(device)
    return time.perf_counter() - start
