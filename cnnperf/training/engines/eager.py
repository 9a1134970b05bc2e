"""The `eager` engine: the recipe as a careful PyTorch user would write it.

It uses torchvision's transforms image by image, a DataLoader, float32, no compilation, and torch's
defaults for everything else. It is the reference for the speed-up of the `fast` engine.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import cast

import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from cnnperf.errors import UsageError
from cnnperf.training.clock import synchronize
from cnnperf.training.data import ImageDataset, choose_workers
from cnnperf.training.data.loaders import check_shared_memory, make_loader
from cnnperf.training.data.pipelines import CheckedBatches, PipelineSplit, open_pipeline
from cnnperf.training.data.transforms import build_transform
from cnnperf.training.engines.base import Batch, Engine, SplitName

WARMUP_STEPS = 3
WARMUP_STEPS_CPU = 1
WARMUP_BATCH_CPU = 8
"""On a CPU, warm-up only loads kernels: a batch of 128 at 224 pixels would take minutes."""


class EagerEngine(Engine):
    """Plain PyTorch with a DataLoader; see the module's docstring."""

    def warm_up(self) -> None:
        """Take a few steps at the recipe's batch size; on a CPU, one small step."""
        on_cpu = self.device.type == "cpu"
        batch_size = min(self.own_batch_size, WARMUP_BATCH_CPU if on_cpu else 1 << 30)
        with self.on_a_copy():
            for _ in range(WARMUP_STEPS_CPU if on_cpu else WARMUP_STEPS):
                self.train_step(batch_size)
            synchronize(self.device)

    def load_data(self) -> None:
        """Read the data set, or open the user's pipeline, and create the loaders."""
        if self.dataset.pipeline is None:
            self.splits = self.read_splits()
        chosen = self.case.workers
        self.workers = self.usual_workers() if chosen is None else chosen
        self.settings["dataloader_workers"] = self.workers
        self.train_loader = self.split_loader("train")
        self.val_loader = self.split_loader("validation")

    def usual_workers(self) -> int:
        """Return the number of DataLoader workers if the case does not name it."""
        return choose_workers(self.device.type)

    def split_loader(self, split: PipelineSplit) -> DataLoader[Batch]:
        """Create the loader of a split; a pipeline may be one itself."""
        if self.dataset.pipeline is None:
            images = getattr(self.splits, {"validation": "val"}.get(split, split))
            transform = build_transform(
                self.dataset, resolution=self.case.resolution, channels=self.channels
            )
            dataset = cast(Dataset[Batch], ImageDataset(images, transform))  # once collated
            loader = self.loader(dataset, shuffle=split == "train")
            image_bytes = 4 * self.channels * self.case.resolution**2  # of float32
            here = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if self.ranks else 1
            check_shared_memory(loader, self.own_batch_size * image_bytes, loaders=here)
            return loader
        if self.ranks.size > 1:
            raise UsageError(
                f"data set {self.dataset.name} is a pipeline, which several devices cannot divide: "
                "train it on one device"
            )
        made = open_pipeline(
            self.dataset, split, self.data_dir, batch_size=self.recipe.batch_size, seed=self.seed
        )
        if isinstance(made, DataLoader):
            self.settings["dataloader_workers"] = made.num_workers
            return made
        return self.loader(made, shuffle=split == "train" and not isinstance(made, IterableDataset))

    def loader(self, dataset: Dataset[Batch], *, shuffle: bool) -> DataLoader[Batch]:
        """Create a loader with workers and pinned memory."""
        return make_loader(
            dataset,
            batch_size=self.recipe.batch_size,
            shuffle=shuffle,
            drop_last=shuffle and self.recipe.drop_last,
            seed=self.seed,
            workers=self.workers,
            device_type=self.device.type,
            ranks=self.ranks,
        )

    def steps_per_epoch(self) -> int:
        """Return the number of batches of the loader, which a subclass may replace."""
        loader = getattr(self, "train_loader", None)
        if loader is None or self.dataset.pipeline is not None:
            return super().steps_per_epoch()
        return len(loader)

    def train_batches(self) -> Iterator[Batch]:
        """Yield the DataLoader's batches; its workers start with the first request.

        Their start counts as waiting for data.
        """
        yield from map(self.to_device, self.checked("train", self.train_loader))

    def evaluation_batches(self, split: SplitName) -> Iterator[Batch]:
        """Yield batches of the recipe's size."""
        loader = self.split_loader("test") if split == "test" else self.val_loader
        return map(self.to_device, self.checked(split, loader))

    def checked(self, split: PipelineSplit, loader: DataLoader[Batch]) -> Iterable[Batch]:
        """Return a loader's batches; those of a user's pipeline are checked."""
        if self.dataset.pipeline is None:
            return loader
        batches = self.steps_per_epoch() if split == "train" else None
        return CheckedBatches(
            self.dataset, split, loader, batch_size=self.recipe.batch_size, batches=batches
        )

    def to_device(self, batch: Batch) -> Batch:
        """Copy a batch to the device, without waiting if its memory is pinned."""
        images_BCHW, labels_B = batch
        return (
            as_float(images_BCHW.to(self.device, non_blocking=True), self.channels),
            labels_B.to(self.device, non_blocking=True),
        )


def as_float(images_BCHW: torch.Tensor, channels: int) -> torch.Tensor:
    """Return images as float32 with so many channels.

    Only those of a user's pipeline change: bytes are scaled to 0..1, and grey images repeated.
    """
    if images_BCHW.dtype == torch.uint8:
        images_BCHW = images_BCHW.float() / 255
    return images_BCHW.float().expand(-1, channels, -1, -1)
