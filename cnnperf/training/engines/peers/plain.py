"""Peers from PyTorch alone: `plain` and `amp`, and `timm` for its models.

- `plain` is the training loop of PyTorch's tutorials. Unlike `eager`, it has no pinned memory, no
  asynchronous copies, and two DataLoader workers that are started again in every epoch.
- `amp` is `eager` with autocast to bfloat16 and channels last, the usual way to more speed with
  little effort. bfloat16 needs no GradScaler. The bfloat16 variants of other peers inherit from it.
- `timm` is timm's model of the same architecture in the loop of `amp`. timm has no loop to import
  (its training script is an example), so this peer compares the models. Its classes and names
  differ from ours, and so do the model's hash and first weights. From the same weights, both models
  compute the same.

Shapes: B images, C channels, H W pixels.
"""

from __future__ import annotations

from typing import Any

import timm
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from cnnperf.errors import UsageError
from cnnperf.training.data import choose_workers
from cnnperf.training.engines.base import Batch, channels_last
from cnnperf.training.engines.eager import EagerEngine, as_float

TUTORIAL_WORKERS = 2
"""In "Training a Classifier" (docs.pytorch.org/tutorials/beginner/blitz/cifar10_tutorial.html)."""

PRINT_STEPS = 100
"""Steps between two prints of the loss in a tutorial; each print waits for the device."""


class PlainEngine(EagerEngine):
    """A tutorial's loop; see the module's docstring."""

    steps_taken = 0

    def usual_workers(self) -> int:
        """Return at most two workers."""
        return min(TUTORIAL_WORKERS, choose_workers(self.device.type))

    def loader(self, dataset: Dataset[Batch], *, shuffle: bool) -> DataLoader[Batch]:
        """Create a loader with torch's defaults; its order comes from the global generator.

        Several devices need one order, so theirs is the loader of `eager`.
        """
        if self.ranks.size > 1:
            return super().loader(dataset, shuffle=shuffle)
        return DataLoader(
            dataset,
            batch_size=self.recipe.batch_size,
            shuffle=shuffle,
            drop_last=shuffle and self.recipe.drop_last,
            num_workers=self.workers,
        )

    def to_device(self, batch: Batch) -> Batch:
        """Copy a batch to the device and wait for it."""
        images_BCHW, labels_B = batch
        return as_float(images_BCHW.to(self.device), self.channels), labels_B.to(self.device)

    def step(self, batch: Batch) -> torch.Tensor:
        """Take a step; every `PRINT_STEPS` steps, read the loss as if to print it."""
        loss = super().step(batch)
        self.steps_taken += 1
        if self.steps_taken % PRINT_STEPS == 0:
            loss.item()
        return loss


class AmpEngine(EagerEngine):
    """Autocast to bfloat16, channels last; as a base class, list it before the other engine."""

    def place(self, model: nn.Module) -> nn.Module:
        """Move to the device, channels last, and enable autocast."""
        self.autocast_dtype = torch.bfloat16
        self.settings |= {"autocast_dtype": "bfloat16", "channels_last": True}
        return super().place(model).to(memory_format=torch.channels_last)

    def noise(self, size: int) -> Batch:
        """Return a batch of noise, channels last."""
        return channels_last(super().noise(size))

    def to_device(self, batch: Batch) -> Batch:
        """Copy a batch to the device, channels last."""
        return channels_last(super().to_device(batch))


TIMM_MODELS: dict[str, dict[str, Any]] = {
    "vgg16": {"model_name": "vgg16_bn", "drop_rate": 0.5},  # the dropout of the paper
    "resnet34": {"model_name": "resnet34"},
}
"""Arguments of `timm.create_model`, by the name of our model."""


class TimmEngine(AmpEngine):
    """Timm's model in the loop of `amp`."""

    def make_model(self) -> nn.Module:
        """Build timm's model on the CPU."""
        return timm_model(self.case.model, self.dataset.num_classes, self.channels)


def timm_model(name: str, num_classes: int, in_channels: int) -> nn.Module:
    """Build timm's model of an architecture, with fresh weights.

    Raises:
        UsageError: timm has no such model.
    """
    if name not in TIMM_MODELS:
        raise UsageError(
            f"timm has no model {name}: the engine timm trains {' and '.join(sorted(TIMM_MODELS))}"
        )
    model: nn.Module = timm.create_model(
        pretrained=False, num_classes=num_classes, in_chans=in_channels, **TIMM_MODELS[name]
    )
    return model
