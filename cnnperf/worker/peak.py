"""The device's matmul peak: what MFU is measured against, in the same run.

A data sheet's figure says what a chip could do; this says what this machine, driver and library
do today. The best of several products counts: noise only ever makes one slower.
"""

from __future__ import annotations

import time

import torch

from cnnperf.clock import synchronize

CPU_SIZE = 4096
ACCELERATOR_SIZE = 8192
"""Rows of the square matrices: large enough that starting the kernel does not show."""

BUDGET_SECONDS = 2.0
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
    size = CPU_SIZE if device.type == "cpu" else ACCELERATOR_SIZE
    left = torch.randn(size, size, device=device).to(dtype)
    right = torch.randn(size, size, device=device).to(dtype)
    torch.matmul(left[:256], right)  # loads the library's kernels
    best = float("inf")
    products = 0
    deadline = time.perf_counter() + BUDGET_SECONDS
    while products < MIN_PRODUCTS or time.perf_counter() < deadline:
        best = min(best, _product_seconds(left, right, device))
        products += 1
    return 2.0 * size**3 / best


def _product_seconds(left: torch.Tensor, right: torch.Tensor, device: torch.device) -> float:
    synchronize(device)
    start = time.perf_counter()
    torch.matmul(left, right)
    synchronize(device)
    return time.perf_counter() - start
