"""The `plain` peer: the training loop of PyTorch's tutorials.

Unlike `eager`, it has no pinned memory, no asynchronous copies, and two DataLoader workers that are
started again in every epoch.

Shapes: B images, C channels, H W pixels.
"""

from __future__ import annotations

from typing import cast

import torch
from torch.utils.data import DataLoader, Dataset

from cnnperf.training.data import ImageDataset, Split, build_transform, choose_workers
from cnnperf.training.engines.base import Batch
from cnnperf.training.engines.eager import EagerEngine

TUTORIAL_WORKERS = 2
"""In "Training a Classifier" (docs.pytorch.org/tutorials/beginner/blitz/cifar10_tutorial.html)."""

PRINT_STEPS = 100
"""Steps between two prints of the loss in a tutorial; each print waits for the device."""


class PlainEngine(EagerEngine):
    """A tutorial's loop; see the module's docstring."""

    steps_taken = 0

    def load_data(self) -> None:
        """Read the data set with at most two workers; none on a CPU with few cores."""
        self.workers = min(TUTORIAL_WORKERS, choose_workers(self.device.type))
        self.settings["dataloader_workers"] = self.workers
        self.splits = self.read_splits()
        self.train_loader = self.loader(self.splits.train, shuffle=True)
        self.val_loader = self.loader(self.splits.val, shuffle=False)

    def loader(self, split: Split, *, shuffle: bool) -> DataLoader[Batch]:
        """Create a loader with torch's defaults; its order comes from the global generator."""
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
        """Copy a batch to the device and wait for it."""
        images_BCHW, labels_B = batch
        return images_BCHW.to(self.device), labels_B.to(self.device)

    def step(self, batch: Batch) -> torch.Tensor:
        """Take a step; every `PRINT_STEPS` steps, read the loss as if to print it."""
        loss = super().step(batch)
        self.steps_taken += 1
        if self.steps_taken % PRINT_STEPS == 0:
            loss.item()
        return loss
