"""Batches for the `eager` engine: a torchvision-style data set behind a DataLoader.

Input pipelines bound the report's own times, so this one is made with the care that a good
script takes (workers, pinned memory) and no more: it is what faster engines are measured against.

    loader = build_loader(splits.train, transform, batch_size=128, shuffle=True, seed=0,
                          workers=choose_workers("cuda"), device_type="cuda")
"""

# Shapes: N images, H W pixels, C channels, B batch.

from __future__ import annotations

import os
from typing import cast

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler, Sampler, SequentialSampler

from cnnperf.training.data.splits import Split
from cnnperf.training.data.transforms import Transform


class ImageDataset(Dataset[tuple[Tensor, int]]):
    """Images in memory that become PIL images one by one, as torchvision's own data sets do."""

    def __init__(self, split: Split, transform: Transform) -> None:
        images_NHWC = split.images_NHWC
        # PIL knows a grey image by its lack of a channel axis.
        self.images = images_NHWC[..., 0] if images_NHWC.shape[3] == 1 else images_NHWC
        self.labels_N = split.labels_N
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels_N)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """The transformed image, C, H, W, and its label."""
        return self.transform(Image.fromarray(self.images[index])), int(self.labels_N[index])


def choose_workers(device_type: str, cores: int | None = None) -> int:
    """How many processes prepare batches.

    Training on the CPU needs the cores itself: a quarter of them, at most four, so none on a
    small machine. An accelerator leaves them idle: all but one, at most eight.

    Args:
        device_type: `cpu`, `cuda`, `mps` or `xpu`.
        cores: that may be used; by default those that this process may run on.
    """
    usable = _usable_cores() if cores is None else cores
    if device_type == "cpu":
        return min(4, usable // 4)
    return min(8, max(1, usable - 1))


def build_loader(
    split: Split,
    transform: Transform,
    *,
    batch_size: int,
    shuffle: bool,
    seed: int,
    workers: int,
    device_type: str,
) -> DataLoader[tuple[Tensor, Tensor]]:
    """Batches of images BCHW and labels B; the last batch may be smaller.

    Args:
        split: the images.
        transform: applied to each of them, from `build_transform`.
        batch_size: images a batch.
        shuffle: another order in every epoch; it depends on the seed and the epoch only.
        seed: of the order, and of random transforms in the workers.
        workers: processes that prepare batches; 0 prepares them in this one.
        device_type: `cuda` gets pinned memory.
    """
    dataset = ImageDataset(split, transform)
    return DataLoader(
        cast(Dataset[tuple[Tensor, Tensor]], dataset),  # collated, labels are a tensor
        batch_size=batch_size,
        sampler=_sampler(dataset, shuffle=shuffle, seed=seed),
        num_workers=workers,
        pin_memory=device_type == "cuda",
        persistent_workers=workers > 0,
        generator=torch.Generator().manual_seed(seed),
        drop_last=False,
    )


def _sampler(dataset: ImageDataset, *, shuffle: bool, seed: int) -> Sampler[int]:
    if not shuffle:
        return SequentialSampler(dataset)
    # A generator of its own: from the loader's, DataLoader also draws the workers' seeds, once an
    # epoch without persistent workers and once in all with them, which would make the order
    # depend on the number of workers.
    return RandomSampler(dataset, generator=torch.Generator().manual_seed(seed))


def _usable_cores() -> int:
    """Cores that this process may run on: fewer than the machine has, in many containers."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
