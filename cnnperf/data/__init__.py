"""Images and labels for the worker: read, divided, transformed, batched (needs torch).

What data sets there are, and whether their files are in place, is `cnnperf.datasets`, which
works without torch; getting them is `cnnperf.data.fetch`.
"""

from __future__ import annotations

from cnnperf.data.loaders import ImageDataset, build_loader, choose_workers
from cnnperf.data.sources import (
    RawImages,
    load_cifar10,
    load_digits,
    load_mnist,
    load_synthetic,
)
from cnnperf.data.splits import SPLIT_SEED, Split, Splits, dataset_sha256, split_images, split_rows
from cnnperf.data.transforms import Transform, build_transform

__all__ = [
    "SPLIT_SEED",
    "ImageDataset",
    "RawImages",
    "Split",
    "Splits",
    "Transform",
    "build_loader",
    "build_transform",
    "choose_workers",
    "dataset_sha256",
    "load_cifar10",
    "load_digits",
    "load_mnist",
    "load_synthetic",
    "split_images",
    "split_rows",
]
