"""The device's matmul peak: what MFU is measured against, in the same run.

A data sheet's figure says what a chip could do; this says what this machine, driver and library
do today. The best of several products counts: noise only ever makes one slower.
"""

from __future__ import annotations

import time

import torch

from cnnperf.clock import synchronize

SIZES = (1024, 2048, 4096, 8192, 16384)
"""Rows of the square matrices, tried in this order: starting the kernel must not show."""

LONG_ENOUGH_SECONDS = 0.2
"""A product that takes this long is large enough; a slow device is not given larger ones."""

BUDGET_SECONDS = 2.0
"""Spent on each precision, on the largest matrices."""

MIN_PRODUCTS = 3


def measure_matmul_peaks(device: torch.device) -> dict[str, float]:
    """FLOP/s of a large matrix product, for each precision that the device has."""
    peaks = {"float32": _peak(device, torch.float32)}
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0):
        torch.backends.cuda.matmul.allow_tf32 = True
        peaks["tf32"] = _peak(device, torch.float32)
        torch.backends.cuda.matmul.allow_tf32 = False
    peaks["bfloat16"] = _peak(device, torch.bfloat16)
    if device.type != "cpu":
        peaks["float16"] = _peak(device, torch.float16)
    return peaks


def _peak(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of the best product: sizes grow until one is large enough, which is then repeated."""
    best = 0.0
    for size in SIZES:
        left = torch.randn(size, size, device=device).to(dtype)
        right = torch.randn(size, size, device=device).to(dtype)
        torch.matmul(left[:256], right)  # loads the library's kernels
        seconds = _product_seconds(left, right, device)
        best = max(best, 2.0 * size**3 / seconds)
        if seconds >= LONG_ENOUGH_SECONDS:
            break
    deadline = time.perf_counter() + BUDGET_SECONDS
    products = 0
    while products < MIN_PRODUCTS or time.perf_counter() < deadline:
        best = max(best, 2.0 * size**3 / _product_seconds(left, right, device))
        products += 1
    return best


def _product_seconds(left: torch.Tensor, right: torch.Tensor, device: torch.device) -> float:
    synchronize(device)
    start = time.perf_counter()
    torch.matmul(left, right)
    synchronize(device)
    return time.perf_counter() - start
