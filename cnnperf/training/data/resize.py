"""Resize whole data sets on the device, equal in every bit to Pillow's result for each image.

The protocol resizes 28-pixel images to 224 with torchvision's `Resize` on PIL images: Pillow's
bilinear filter, antialiased, in fixed-point arithmetic. In a DataLoader this can take longer than a
training step. The filter is linear in each direction, so here it is two matrix products over all
images at once, with Pillow's integer coefficients and rounding.

Source: Pillow's `src/libImaging/Resample.c` (coefficients scaled by 2**22, rounded, summed with
half a unit, shifted, clipped; first along the rows, then along the columns).

Shapes: N images, C channels, H W pixels before, R pixels a side after.
"""

from __future__ import annotations

import math

import torch

PRECISION_BITS = 22
"""Bits of Pillow's coefficients: 32 minus 8 bits for a pixel and 2 of headroom."""

BATCH_BYTES = 2**28
"""Float64 memory for one batch of images."""


def resize_exactly(images_NHWC: torch.Tensor, resolution: int) -> torch.Tensor:
    """Resize images of shape (N, H, W, C) to (N, R, R, C), on their device.

    uint8 images equal those of `torchvision.transforms.Resize((R, R))` on PIL images in every bit;
    float32 images are resized by the same filter without rounding.
    """
    count, height, width, channels = images_NHWC.shape
    if (height, width) == (resolution, resolution):
        return images_NHWC
    across_RW = _coefficients(width, resolution, images_NHWC.device)
    down_RH = _coefficients(height, resolution, images_NHWC.device)
    whole = images_NHWC.dtype == torch.uint8
    out_NRRC = images_NHWC.new_empty(count, resolution, resolution, channels)
    images_a_batch = max(1, BATCH_BYTES // (8 * channels * resolution * max(resolution, height)))
    for start in range(0, count, images_a_batch):
        batch_NCHW = images_NHWC[start : start + images_a_batch].permute(0, 3, 1, 2).double()
        to_pixels = _to_pixels if whole else _unscale
        wide_NCHR = to_pixels(batch_NCHW @ across_RW.T)
        full_NCRR = to_pixels(down_RH @ wide_NCHR)
        out_NRRC[start : start + images_a_batch] = full_NCRR.permute(0, 2, 3, 1).to(out_NRRC.dtype)
    return out_NRRC


def _to_pixels(scaled: torch.Tensor) -> torch.Tensor:
    """Turn sums of pixel times integer coefficient into pixels: add half, shift, clip."""
    half = 2.0 ** (PRECISION_BITS - 1)
    return ((scaled + half) / 2.0**PRECISION_BITS).floor_().clamp_(0.0, 255.0)


def _unscale(scaled: torch.Tensor) -> torch.Tensor:
    return scaled / 2.0**PRECISION_BITS


def _coefficients(size: int, resolution: int, device: torch.device) -> torch.Tensor:
    """Return Pillow's integer coefficients of the bilinear filter, one row per output pixel.

    They are float64, which holds the sums of products, below 2**31, exactly.
    """
    scale = size / resolution
    filter_scale = max(scale, 1.0)
    support = filter_scale  # the triangle filter reaches one pixel, scaled
    rows = torch.zeros(resolution, size, dtype=torch.float64)
    for pixel in range(resolution):
        center = (pixel + 0.5) * scale
        first = max(0, int(center - support + 0.5))
        last = min(size, int(center + support + 0.5))
        weights = [
            max(0.0, 1.0 - abs((x - center + 0.5) / filter_scale)) for x in range(first, last)
        ]
        total = sum(weights)
        for x, weight in zip(range(first, last), weights, strict=True):
            rows[pixel, x] = math.floor(weight / total * 2**PRECISION_BITS + 0.5)
    return rows.to(device)
