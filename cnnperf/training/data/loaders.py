"""Batches of the `eager` engine: a torchvision-style data set and a DataLoader.

The input pipeline seems to limit the study's times. This one has what a good script has, workers
and pinned memory, and no more.

    transform = build_transform(MNIST, resolution=224, channels=3)
    loader = build_loader(splits.train, transform, batch_size=128, shuffle=True, seed=0,
                          workers=choose_workers("cuda"), device_type="cuda")

Shapes: N images, H W pixels, C channels, B batch.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Iterator, Sized
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias, cast

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
)

from cnnperf.errors import UsageError
from cnnperf.training.data.splits import Split
from cnnperf.training.ranks import ALONE, Ranks
from cnnperf.training.worker.channel import SHARED_MEMORY

Transform: TypeAlias = Callable[[Any], Tensor]
"""From a PIL image, or an array (H, W, C), to a tensor (C, H, W) (`data.transforms`)."""


def is_pil(dtype: str, channels: int) -> bool:
    """Return whether PIL has images of that type: bytes, grey or in three colours."""
    return dtype == "uint8" and channels in (1, 3)


class RankBatches(Sampler[list[int]]):
    """The part of all batches that belongs to one rank.

    Args:
        batches: the batches of all ranks together, in the same order on each.
        ranks: the rank.
        divided: whether each rank gets its share of every batch, else every so many batches. A
            share without an image has one all the same, since no rank may miss a step.
    """

    def __init__(self, batches: BatchSampler, ranks: Ranks, *, divided: bool) -> None:
        self._batches, self._ranks, self._divided = batches, ranks, divided

    def __len__(self) -> int:
        if self._divided:
            return len(self._batches)
        return len(range(self._ranks.rank, len(self._batches), self._ranks.size))

    def __iter__(self) -> Iterator[list[int]]:
        if not self._divided:
            yield from islice(self._batches, self._ranks.rank, None, self._ranks.size)
            return
        for rows in self._batches:
            yield rows[self._ranks.share(len(rows))] or rows[:1]


class ImageDataset(Dataset[tuple[Tensor, int]]):
    """Images in memory that become PIL images one by one, as in torchvision's data sets.

    Images that PIL does not have, with other channels or float32 pixels, stay arrays.
    """

    def __init__(self, split: Split, transform: Transform) -> None:
        images_NHWC = split.images_NHWC
        self.is_pil = is_pil(images_NHWC.dtype.name, images_NHWC.shape[3])
        # For PIL, a grey image has no channel axis.
        grey = self.is_pil and images_NHWC.shape[3] == 1
        self.images = images_NHWC[..., 0] if grey else images_NHWC
        self.labels_N = split.labels_N
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels_N)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return the transformed image (C, H, W) and its label."""
        image = self.images[index]
        image = Image.fromarray(image) if self.is_pil else image
        return self.transform(image), int(self.labels_N[index])


def choose_workers(device_type: str, cores: int | None = None) -> int:
    """Return the number of DataLoader workers.

    Training on the CPU needs the cores itself: a quarter of them, at most four, so none on a small
    machine. With an accelerator, all cores but one, at most eight. The default of `cores` is those
    of this process, which a container may limit.
    """
    if cores is None:
        can_ask = hasattr(os, "sched_getaffinity")
        cores = len(os.sched_getaffinity(0)) if can_ask else os.cpu_count() or 1
    if device_type == "cpu":
        return min(4, cores // 4)
    return min(8, max(1, cores - 1))


def check_shared_memory(
    loader: DataLoader[Any], batch_bytes: int, *, loaders: int = 1, folder: Path = SHARED_MEMORY
) -> None:
    """Check that the batches which workers prepare ahead fit into shared memory.

    A worker writes each batch there (`torch.utils.data._utils.collate`), whatever torch's sharing
    strategy is, and without room it dies of a bus error, perhaps only after many steps. Fewer
    workers would measure another input pipeline, so that is left to the user.

    Args:
        loader: a loader with the number of workers to check; without workers all is well.
        batch_bytes: size of a batch's images.
        loaders: how many processes of this machine have such a loader.
        folder: where the shared memory is; a system without that folder is not checked.

    Raises:
        UsageError: they may not fit.
    """
    if not loader.num_workers or not folder.is_dir():
        return
    ahead = loader.num_workers * (loader.prefetch_factor or 1)
    with suppress(TypeError):  # an iterable data set without a length
        ahead = min(ahead, len(loader))
    needed, free = loaders * ahead * batch_bytes, shutil.disk_usage(folder).free
    if needed > free:
        raise UsageError(
            f"{folder} has {free / 2**20:,.0f} MiB free, and {loaders * loader.num_workers} "
            f"DataLoader workers may fill {needed / 2**20:,.0f} MiB of it with batches of "
            f"{batch_bytes / 2**20:,.1f} MiB: start the container with `docker run "
            f"--shm-size={math.ceil(1.25 * needed / 2**30)}g` or `--ipc=host`, or measure with "
            "fewer workers (--cnnperf-set workers=N)"
        )


def build_loader(
    split: Split,
    transform: Transform,
    *,
    batch_size: int,
    shuffle: bool,
    seed: int,
    workers: int,
    device_type: str,
    drop_last: bool = False,
) -> DataLoader[tuple[Tensor, Tensor]]:
    """Create a loader of images (B, C, H, W) and labels (B); the last batch may be smaller.

    If shuffled, each epoch has another order, which depends only on seed and epoch. The seed is
    also that of random transforms in the workers. Without workers, this process prepares batches.
    """
    dataset = cast(Dataset[tuple[Tensor, Tensor]], ImageDataset(split, transform))
    return make_loader(
        dataset,
        batch_size=batch_size,
        shuffle=shuffle,
        seed=seed,
        workers=workers,
        device_type=device_type,
        drop_last=drop_last,
    )


def make_loader(
    dataset: Dataset[tuple[Tensor, Tensor]],
    *,
    batch_size: int,
    shuffle: bool,
    seed: int,
    workers: int,
    device_type: str,
    drop_last: bool = False,
    ranks: Ranks = ALONE,
) -> DataLoader[tuple[Tensor, Tensor]]:
    """Create such a loader of any data set, whose batches have labels as a tensor once collated.

    An iterable data set has an order of its own. With ranks, the batches are this rank's: its share
    of each if shuffled, else every so many of them.
    """
    sampler: Sampler[int] | None = None
    if not isinstance(dataset, IterableDataset):
        sampler = SequentialSampler(cast(Sized, dataset))
    if shuffle and sampler is not None:
        # Not the loader's generator: DataLoader draws the workers' seeds from it, once per epoch or
        # once in all with persistent workers, so the order would depend on the number of workers.
        sampler = RandomSampler(cast(Sized, dataset), generator=torch.Generator().manual_seed(seed))
    batches: dict[str, Any] = {
        "batch_size": batch_size,
        "sampler": sampler,
        "drop_last": drop_last,
    }
    if ranks.size > 1 and sampler is not None:
        whole = BatchSampler(sampler, batch_size, drop_last)
        batches = {"batch_sampler": RankBatches(whole, ranks, divided=shuffle)}
    return DataLoader(
        dataset,
        **batches,
        num_workers=workers,
        pin_memory=device_type == "cuda",
        persistent_workers=workers > 0,
        generator=torch.Generator().manual_seed(seed),
    )
