"""Batches of the `eager` engine: a torchvision-style data set with a DataLoader.

The input pipeline seems to limit the study's times. This one has what a good script has, workers
and pinned memory, and no more; faster engines are compared with it.

    loader = build_loader(splits.train, transform, batch_size=128, shuffle=True, seed=0,
                          workers=choose_workers("cuda"), device_type="cuda")

Shapes: N images, H W pixels, C channels, B batch.
"""

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
    """Images in memory that become PIL images one by one, as in torchvision's data sets."""

    def __init__(self, split: Split, transform: Transform) -> None:
        images_NHWC = split.images_NHWC
        # For PIL, a grey image has no channel axis.
        self.images = images_NHWC[..., 0] if images_NHWC.shape[3] == 1 else images_NHWC
        self.labels_N = split.labels_N
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels_N)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return the transformed image (C, H, W) and its label."""
        return self.transform(Image.fromarray(self.images[index])), int(self.labels_N[index])


def choose_workers(device_type: str, cores: int | None = None) -> int:
    """Return the number of DataLoader workers.

    Training on the CPU needs the cores itself: a quarter of them, at most four, so none on a small
    machine. With an accelerator, all cores but one, at most eight.

    Args:
        device_type: `cpu`, `cuda`, `mps` or `xpu`.
        cores: usable cores; the default is those of this process, which a container may limit.
    """
    if cores is None:
        can_ask = hasattr(os, "sched_getaffinity")
        cores = len(os.sched_getaffinity(0)) if can_ask else os.cpu_count() or 1
    if device_type == "cpu":
        return min(4, cores // 4)
    return min(8, max(1, cores - 1))


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
    """Create a loader of images (B, C, H, W) and labels (B); the last batch may be smaller.

    Args:
        split: the images and labels.
        transform: applied to each image; see `build_transform`.
        batch_size: images per batch.
        shuffle: whether each epoch has another order, which depends only on seed and epoch.
        seed: seed of the order, and of random transforms in the workers.
        workers: processes that prepare batches; 0 uses this process.
        device_type: `cuda` gets pinned memory.
    """
    dataset = ImageDataset(split, transform)
    return DataLoader(
        cast(Dataset[tuple[Tensor, Tensor]], dataset),  # collated, labels are a tensor
        batch_size=batch_size,
        sampler=_shuffled(dataset, seed) if shuffle else SequentialSampler(dataset),
        num_workers=workers,
        pin_memory=device_type == "cuda",
        persistent_workers=workers > 0,
        generator=torch.Generator().manual_seed(seed),
        drop_last=False,
    )


def _shuffled(dataset: ImageDataset, seed: int) -> Sampler[int]:
    # Not the loader's generator: DataLoader draws the workers' seeds from it, once per epoch or
    # once in all with persistent workers, so the order would depend on the number of workers.
    return RandomSampler(dataset, generator=torch.Generator().manual_seed(seed))
