"""The `accelerate` peers: Hugging Face's Accelerate, as its quick tour writes it.

Torch half. `Accelerator`, `prepare` for model, optimizer and loader, `accelerator.backward`. The
loader is the one that `eager` has; Accelerate copies its batches to the device, without waiting
where their memory is pinned, as its guide advises.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration
from torch import nn

from cnnperf.errors import UsageError
from cnnperf.training.data.augment import augment
from cnnperf.training.engines.base import Batch
from cnnperf.training.engines.eager import EagerEngine
from cnnperf.training.engines.peers.batches import Bf16ChannelsLast, channels_last


class AccelerateEngine(EagerEngine):
    """float32."""

    mixed_precision = "no"

    def place(self, model: nn.Module) -> nn.Module:
        """On the device, which must be Accelerate's too.

        Raises:
            UsageError: a variable of the environment makes Accelerate choose another device.
        """
        self.accelerator = Accelerator(
            mixed_precision=self.mixed_precision,
            cpu=self.device.type == "cpu",
            dataloader_config=DataLoaderConfiguration(non_blocking=True),
        )
        chosen = self.accelerator.device
        if chosen.type != self.device.type:
            raise UsageError(
                f"Accelerate chose the device {chosen}, but the run's is {self.device}: unset the "
                "environment's ACCELERATE_ variables, or say --cnnperf-device"
            )
        return super().place(model)

    def warm_up(self) -> None:
        """Hand model and optimizer to Accelerate; then as `eager` does, on copies of both."""
        self.model, self.optimizer = self.accelerator.prepare(self.model, self.optimizer)
        super().warm_up()

    def load_data(self) -> None:
        """Read the data set, set up the loaders and hand over the one that trains."""
        super().load_data()
        self.train_loader = self.accelerator.prepare(self.train_loader)

    def train_batches(self) -> Iterator[Batch]:
        """As Accelerate's loader hands them out: on the device."""
        return iter(self.train_loader)

    def step(self, batch: Batch) -> torch.Tensor:
        """The quick tour's lines; the precision is in the prepared model."""
        images_BCHW, labels_B = batch
        images_BCHW = augment(images_BCHW, self.recipe.augmentation)
        self.optimizer.zero_grad()
        loss = self.loss_function(self.model(images_BCHW), labels_B)
        self.accelerator.backward(loss)
        self.optimizer.step()
        return loss.detach()


class AccelerateBf16Engine(Bf16ChannelsLast, AccelerateEngine):
    """bfloat16 where autocast has it, and channels last like `amp`."""

    mixed_precision = "bf16"

    def train_batches(self) -> Iterator[Batch]:
        """In the order of the model's weights."""
        return map(channels_last, super().train_batches())
