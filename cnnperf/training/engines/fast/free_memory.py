"""How much memory a device has left: what decides whether a data set can live on it."""

from __future__ import annotations

import psutil
import torch

from cnnperf.catalog.specs import DatasetSpec

MEMORY_SHARE = 0.5
"""Of the free memory, that the data set may take: the rest is for weights and activations."""


def free_memory_bytes(device: torch.device) -> int | None:
    """Bytes that this process could still take there; None where the device does not say."""
    if device.type == "cpu":
        return int(psutil.virtual_memory().available)
    if device.type in ("cuda", "xpu"):
        backend = getattr(torch, device.type)
        cached = backend.memory_reserved(device) - backend.memory_allocated(device)
        return int(backend.mem_get_info(device)[0] + cached)
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    return None


def dataset_bytes(dataset: DatasetSpec, resolution: int) -> int:
    """Of all images of a data set as bytes of pixels, at a resolution."""
    images = dataset.train_images + dataset.val_images + dataset.test_images
    return images * dataset.channels * resolution**2


def chunk_images(
    dataset: DatasetSpec, resolution: int, *, free_bytes: int | None, multiple: int
) -> int | None:
    """Images of a split that may be on the device at once, a multiple of the batch; None: all.

    A chunk of each of the three splits is given a third of the share.
    """
    if free_bytes is None or dataset_bytes(dataset, resolution) <= free_bytes * MEMORY_SHARE:
        return None
    image_bytes = dataset.channels * resolution**2
    fitting = int(free_bytes * MEMORY_SHARE / 3 / image_bytes)
    return max(1, fitting // multiple) * multiple
