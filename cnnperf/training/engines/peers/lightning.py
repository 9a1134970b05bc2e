"""The `lightning` peers: PyTorch Lightning's Trainer, one `fit` for all epochs.

The Trainer is in its barebones mode, which Lightning documents for measuring speed: no logger, no
checkpoints, no progress bar, no summary, no sanity check. The loader is that of `eager`. A callback
runs our validation at the end of each epoch, so that the metrics are those of every engine. What
Lightning does between two epochs is on the clock.

Shapes: B images, C channels, H W pixels.
"""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Collection, Iterator
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.environments import LightningEnvironment, TorchElasticEnvironment
from torch import nn
from torch.utils.data import DataLoader

from cnnperf.errors import UsageError
from cnnperf.training.data.augment import augment
from cnnperf.training.engines.base import (
    Batch,
    SplitName,
    channels_last,
)
from cnnperf.training.engines.eager import EagerEngine
from cnnperf.training.engines.peers.plain import AmpEngine
from cnnperf.training.engines.phase import EpochHandler, PhaseRecorder, WaitingTime
from cnnperf.training.evaluation import Evaluation

ACCELERATORS = {"cpu": "cpu", "cuda": "gpu", "mps": "mps"}
"""Lightning's name of a device type, by torch's name."""


class LightningEngine(EagerEngine):
    """Lightning in float32."""

    lightning_precision = "32-true"
    foreign_loop = True

    def place(self, model: nn.Module) -> nn.Module:
        """Move to the device.

        Raises:
            UsageError: Lightning does not support this type of device.
        """
        if self.device.type not in ACCELERATORS:
            raise UsageError(
                f"Lightning cannot train on {self.device.type}: select another engine with -k, or "
                f"one of {', '.join(ACCELERATORS)} with --cnnperf-device"
            )
        return super().place(model)

    def train_step(self, batch_size: int | None = None) -> None:
        """Take one step on noise through a Trainer, to warm up Lightning too."""
        batch = self.noise(batch_size or self.recipe.batch_size)
        self._fit(WatchedBatches([batch]), max_epochs=1)
        self.model.to(self.device)

    def train(self, handler: EpochHandler) -> None:
        """Train all epochs in one `fit`."""
        batches = WatchedBatches(self.train_loader)
        self._fit(
            batches,
            max_epochs=self.recipe.epochs,
            max_steps=handler.steps_left or -1,
            callbacks=[EpochCallback(self, handler, batches)],
        )
        self.model.to(self.device)  # `fit` leaves it on the CPU

    def _fit(self, batches: WatchedBatches, **options: Any) -> None:
        """Train the model with a new Trainer, in this process only, even on a cluster.

        Several devices are the processes that torch's launcher has started, with Lightning's DDP.
        """
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about workers and logging
            trainer = Trainer(
                accelerator=ACCELERATORS[self.device.type],
                precision=self.lightning_precision,
                barebones=True,
                **self._processes(),
                **options,
            )
            trainer.fit(LightningTraining(self), batches)

    def _processes(self) -> dict[str, Any]:
        if self.ranks:
            return {
                "devices": int(os.environ["LOCAL_WORLD_SIZE"]),
                "num_nodes": int(os.environ["GROUP_WORLD_SIZE"]),
                "strategy": "ddp",
                "plugins": [TorchElasticEnvironment()],
            }
        return {
            "devices": [self.device.index or 0] if self.device.type == "cuda" else 1,
            "plugins": [LightningEnvironment()],
        }

    def share_model(self) -> None:
        """Leave that to Lightning."""

    def evaluate(self, split: SplitName) -> Evaluation:
        """Move the model back to the device, which `fit` may have left, and predict a split."""
        self.model.to(self.device)
        return super().evaluate(split)


class LightningBf16Engine(AmpEngine, LightningEngine):
    """Lightning with autocast to bfloat16 and channels last."""

    lightning_precision = "bf16-mixed"


class LightningTraining(LightningModule):  # type: ignore[misc]  # untyped to mypy
    """An engine's model, loss and optimizer in Lightning's form."""

    def __init__(self, engine: LightningEngine) -> None:
        super().__init__()
        self.engine = engine
        self.model = engine.model

    def training_step(self, batch: Batch) -> torch.Tensor:
        """Return the mean loss of a batch."""
        images_BCHW, labels_B = batch
        return self.engine.loss_function(self.model(images_BCHW), labels_B)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the recipe's optimizer."""
        return self.engine.optimizer

    def on_after_batch_transfer(self, batch: Batch, _dataloader_idx: int) -> Batch:
        """Augment the batch if the recipe does, in the memory layout of the weights."""
        images_BCHW, labels_B = batch
        batch = augment(images_BCHW, self.engine.recipe.augmentation), labels_B
        return channels_last(batch) if self.engine.settings.get("channels_last") else batch


class WatchedBatches:
    """A loader that records the start of its last iteration and the time spent waiting for it.

    Lightning may create the iterator before or after it calls `on_train_epoch_start`, so read both
    at the end of the epoch.
    """

    def __init__(self, loader: Collection[Batch] | DataLoader[Batch]) -> None:
        self._loader = loader
        self.began = 0.0

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Batch]:
        self.began = time.perf_counter()
        self.waited = WaitingTime(self._loader)
        return self.waited


class EpochCallback(Callback):  # type: ignore[misc]  # untyped to mypy
    """Call the epoch handler after each epoch, and stop Lightning when it says so."""

    def __init__(
        self, engine: LightningEngine, handler: EpochHandler, batches: WatchedBatches
    ) -> None:
        self._engine, self._handler, self._batches = engine, handler, batches

    def on_train_epoch_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Start recording an epoch; the last validation left the model in eval mode."""
        module.train()
        epoch = trainer.current_epoch + 1
        self._recorder = PhaseRecorder(
            self._engine.device,
            steps=self._engine.steps_in_epoch(self._handler.steps_left),
            epoch=epoch,
            observer=self._handler.observer(epoch),
            ranks=self._engine.ranks,
        )
        self._recorder.start()

    def on_train_batch_end(
        self,
        _trainer: Trainer,
        _module: LightningModule,
        outputs: dict[str, torch.Tensor],
        batch: Batch,
        _batch_index: int,
    ) -> None:
        """Record a step."""
        self._recorder.add(outputs["loss"].view(1), [len(batch[1])])

    def on_train_epoch_end(self, trainer: Trainer, _module: LightningModule) -> None:
        """Validate through the handler, and stop if it says so."""
        self._engine.optimizer = trainer.optimizers[0]  # the live one, which the record describes
        phase = self._recorder.finish(self._batches.began, self._batches.waited.seconds)
        trainer.should_stop = not self._handler.finish_epoch(phase)
