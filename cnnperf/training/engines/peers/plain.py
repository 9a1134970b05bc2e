"""The `plain` peer: the training loop as PyTorch's tutorials write it.

Torch half. What it has less than `eager` is what a tutorial leaves out: pinned memory, copies that
nobody waits for, DataLoader workers that live longer than an epoch and are as many as the machine
can use.
"""

from __future__ import annotations

from typing import cast

import torch
from torch.utils.data import DataLoader, Dataset

from cnnperf.training.data import ImageDataset, Split, build_transform, choose_workers
from cnnperf.training.engines.base import Batch
from cnnperf.training.engines.eager import EagerEngine

TUTORIAL_WORKERS = 2
"""Of "Training a Classifier" (docs.pytorch.org/tutorials/beginner/blitz/cifar10_tutorial.html)."""

PRINT_STEPS = 100
"""So often a tutorial prints the loss, for which it waits for the device."""


class PlainEngine(EagerEngine):
    """A tutorial's loop; see the module's text."""

    steps_taken = 0

    def load_data(self) -> None:
        """Two workers, and none on a CPU of a few cores, where they would take those that train."""
        self.workers = min(TUTORIAL_WORKERS, choose_workers(self.device.type))
        self.settings["dataloader_workers"] = self.workers
        self.splits = self.read_splits()
        self.train_loader = self.loader(self.splits.train, shuffle=True)
        self.val_loader = self.loader(self.splits.val, shuffle=False)

    def loader(self, split: Split, *, shuffle: bool) -> DataLoader[Batch]:
        """Torch's defaults; the order comes from its global generator, which the seed sets."""
        transform = build_transform(
            self.dataset, resolution=self.case.resolution, channels=self.channels
        )
        return DataLoader(
            cast(Dataset[Batch], ImageDataset(split, transform)),  # collated, labels are a tensor
            batch_size=self.recipe.batch_size,
            shuffle=shuffle,
            num_workers=self.workers,
        )

    def to_device(self, batch: Batch) -> Batch:
        """Copy a batch there and wait for it."""
        images_BCHW, labels_B = batch
        return images_BCHW.to(self.device), labels_B.to(self.device)

    def step(self, batch: Batch) -> torch.Tensor:
        """Forward, backward, update; now and then the loss is asked for, as if to print it."""
        loss = super().step(batch)
        self.steps_taken += 1
        if self.steps_taken % PRINT_STEPS == 0:
            loss.item()
        return loss
