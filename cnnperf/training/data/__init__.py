"""Images and labels for training: sources, splits, transforms, batches, downloads.

`cnnperf.catalog.datasets` describes the data sets and checks their files without torch.
"""

from __future__ import annotations

from cnnperf.training.data.loaders import (
    ImageDataset,
    Transform,
    build_loader,
    choose_workers,
)
from cnnperf.training.data.sources import (
    RawImages,
    load_cifar10,
    load_mnist,
    load_synthetic,
)
from cnnperf.training.data.splits import (
    SPLIT_SEED,
    Split,
    Splits,
    dataset_sha256,
    split_images,
    split_rows,
)

__all__ = [
    "SPLIT_SEED",
    "ImageDataset",
    "RawImages",
    "Split",
    "Splits",
    "Transform",
    "build_loader",
    "choose_workers",
    "dataset_sha256",
    "load_cifar10",
    "load_mnist",
    "load_synthetic",
    "split_images",
    "split_rows",
]
