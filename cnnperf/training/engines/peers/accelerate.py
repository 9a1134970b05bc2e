"""The `accelerate` peers: Hugging Face's Accelerate, used as in its quick tour.

They use `Accelerator`, `prepare` for model, optimizer and loader, and `accelerator.backward`. The
loader is that of `eager`. Accelerate copies its batches to the device without waiting if their
memory is pinned, as its guide recommends.

Shapes: B images, C channels, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration
from torch import nn
from torch.utils.data import DataLoader, Dataset

from cnnperf.errors import UsageError
from cnnperf.training.data.augment import augment
from cnnperf.training.engines.base import Batch, SplitName, channels_last
from cnnperf.training.engines.eager import EagerEngine
from cnnperf.training.engines.peers.plain import AmpEngine
from cnnperf.training.evaluation import Evaluation
from cnnperf.training.ranks import ALONE


class AccelerateEngine(EagerEngine):
    """Accelerate in float32."""

    mixed_precision = "no"

    def place(self, model: nn.Module) -> nn.Module:
        """Create the accelerator and move the model to the device.

        Raises:
            UsageError: an environment variable makes Accelerate choose another device.
        """
        self.accelerator = Accelerator(
            mixed_precision=self.mixed_precision,
            cpu=self.device.type == "cpu",
            # Its devices share the batches of the loader, as ours do.
            dataloader_config=DataLoaderConfiguration(
                non_blocking=True, split_batches=self.ranks.size > 1
            ),
        )
        chosen = self.accelerator.device
        if chosen.type != self.device.type:
            raise UsageError(
                f"Accelerate chose the device {chosen}, but the run uses {self.device}: unset the "
                "ACCELERATE_ environment variables, or set --cnnperf-device"
            )
        return super().place(model)

    def warm_up(self) -> None:
        """Prepare model and optimizer with Accelerate, then warm up like `eager` on copies."""
        self.model, self.optimizer = self.accelerator.prepare(self.model, self.optimizer)
        super().warm_up()

    def share_model(self) -> None:
        """Leave that to Accelerate."""

    def step_alone(self) -> Callable[[], object]:
        """Return a step without Accelerate's messages; use it on a copy."""
        self.model = self.accelerator.unwrap_model(self.model)
        return self.train_step

    def evaluate(self, split: SplitName) -> Evaluation:
        """Predict a split without messages: ranks have different numbers of batches."""
        prepared = self.model
        self.model = self.accelerator.unwrap_model(prepared)
        try:
            return super().evaluate(split)
        finally:
            self.model = prepared

    def loader(self, dataset: Dataset[Batch], *, shuffle: bool) -> DataLoader[Batch]:
        """Create the loader of `eager`; Accelerate itself divides that of training."""
        own, self.ranks = self.ranks, ALONE if shuffle else self.ranks
        try:
            return super().loader(dataset, shuffle=shuffle)
        finally:
            self.ranks = own

    def load_data(self) -> None:
        """Read the data set, create the loaders, and prepare the training loader."""
        super().load_data()
        self.train_loader = self.accelerator.prepare(self.train_loader)

    def train_batches(self) -> Iterator[Batch]:
        """Yield the batches of Accelerate's loader, which are on the device."""
        return iter(self.train_loader)

    def step(self, batch: Batch) -> torch.Tensor:
        """Take a step as in the quick tour; the prepared model sets the precision."""
        images_BCHW, labels_B = batch
        images_BCHW = augment(images_BCHW, self.recipe.augmentation)
        self.optimizer.zero_grad()
        loss = self.loss_function(self.model(images_BCHW), labels_B)
        self.accelerator.backward(loss)
        self.optimizer.step()
        return loss.detach()


class AccelerateBf16Engine(AmpEngine, AccelerateEngine):
    """Accelerate with autocast to bfloat16 and channels last."""

    mixed_precision = "bf16"

    def train_batches(self) -> Iterator[Batch]:
        """Yield batches channels last."""
        return map(channels_last, super().train_batches())
