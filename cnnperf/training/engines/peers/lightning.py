"""The `lightning` peers: PyTorch Lightning's Trainer, one `fit` for all epochs.

Torch half. The Trainer is in its barebones mode, which its documentation has for measuring speed:
no logger, no checkpoints, no progress bar, no summary, no sanity check. The loader is the one that
`eager` has. Validation is ours, from a callback at the end of each epoch, so that its metrics are
made as everybody's are; what of Lightning runs between two epochs is on the clock.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Collection, Iterator
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.environments import LightningEnvironment
from torch import nn
from torch.utils.data import DataLoader

from cnnperf.errors import UsageError
from cnnperf.training.clock import StepTimer, synchronize
from cnnperf.training.data.augment import augment
from cnnperf.training.engines.base import (
    Batch,
    Course,
    Evaluation,
    SplitName,
    TrainPhase,
    WaitingTime,
)
from cnnperf.training.engines.eager import EagerEngine
from cnnperf.training.engines.peers.batches import Bf16ChannelsLast, channels_last
from cnnperf.training.losses import LossMonitor

ACCELERATORS = {"cpu": "cpu", "cuda": "gpu", "mps": "mps"}
"""Lightning's name of a device, by ours."""


class LightningEngine(EagerEngine):
    """float32."""

    lightning_precision = "32-true"
    foreign_loop = True

    def place(self, model: nn.Module) -> nn.Module:
        """On the device.

        Raises:
            UsageError: Lightning does not know this kind of device.
        """
        if self.device.type not in ACCELERATORS:
            raise UsageError(
                f"Lightning cannot train on {self.device.type}: choose another engine with -k, or "
                f"a device of {', '.join(ACCELERATORS)} with --cnnperf-device"
            )
        return super().place(model)

    def train_step(self, batch_size: int | None = None) -> None:
        """One step on noise through a Trainer, so that it is Lightning that gets warm."""
        batch = self.noise(batch_size or self.recipe.batch_size)
        self._fit(WatchedBatches([batch]), max_epochs=1)
        self.model.to(self.device)

    def train(self, course: Course) -> None:
        """Train every epoch in one `fit`."""
        batches = WatchedBatches(self.train_loader)
        self._fit(
            batches,
            max_epochs=self.recipe.epochs,
            max_steps=course.steps_left or -1,
            callbacks=[CourseCallback(self, course, batches)],
        )
        self.model.to(self.device)  # `fit` leaves it on the CPU

    def _fit(self, batches: WatchedBatches, **options: Any) -> None:
        """Let a new Trainer train the model, in this process alone, whatever a cluster offers."""
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # advice about workers and logging
            trainer = Trainer(
                accelerator=ACCELERATORS[self.device.type],
                devices=[self.device.index or 0] if self.device.type == "cuda" else 1,
                precision=self.lightning_precision,
                barebones=True,
                plugins=[LightningEnvironment()],
                **options,
            )
            trainer.fit(LightningTraining(self), batches)

    def evaluate(self, split: SplitName) -> Evaluation:
        """Predict a split, with the model brought back to the device where `fit` is over."""
        self.model.to(self.device)
        return super().evaluate(split)


class LightningBf16Engine(Bf16ChannelsLast, LightningEngine):
    """bfloat16 where autocast has it, and channels last like `amp`."""

    lightning_precision = "bf16-mixed"


class LightningTraining(LightningModule):  # type: ignore[misc]  # untyped to mypy
    """An engine's model, loss and optimizer as Lightning wants them."""

    def __init__(self, engine: LightningEngine) -> None:
        super().__init__()
        self.engine = engine
        self.model = engine.model

    def training_step(self, batch: Batch) -> torch.Tensor:
        """Mean loss of a batch."""
        images_BCHW, labels_B = batch
        return self.engine.loss_function(self.model(images_BCHW), labels_B)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The recipe's."""
        return self.engine.optimizer

    def on_after_batch_transfer(self, batch: Batch, _dataloader_idx: int) -> Batch:
        """Augmented where the recipe says so, and in the order of the model's weights."""
        images_BCHW, labels_B = batch
        batch = augment(images_BCHW, self.engine.recipe.augmentation), labels_B
        return channels_last(batch) if self.engine.settings.get("channels_last") else batch


class WatchedBatches:
    """A loader that remembers when its last iteration began and how long it was waited for.

    Lightning asks for the first batch's iterator before it says that an epoch starts.
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


class CourseCallback(Callback):  # type: ignore[misc]  # untyped to mypy
    """Tells a course of every epoch that Lightning trains, and Lightning when to stop."""

    def __init__(self, engine: LightningEngine, course: Course, batches: WatchedBatches) -> None:
        self._engine, self._course, self._batches = engine, course, batches

    def on_train_epoch_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Start to watch an epoch; the validation before it left the model in eval mode."""
        module.train()
        epoch = trainer.current_epoch + 1
        steps = len(self._batches)
        self._monitor = LossMonitor(
            steps=min(steps, self._course.steps_left or steps),
            epoch=epoch,
            device=self._engine.device,
            on_look=self._course.observer(epoch),
        )
        self._images_per_step: list[int] = []
        self._timer = StepTimer(self._engine.device)
        self._timer.mark()

    def on_train_batch_end(
        self,
        _trainer: Trainer,
        _module: LightningModule,
        outputs: dict[str, torch.Tensor],
        batch: Batch,
        _batch_index: int,
    ) -> None:
        """Keep the loss of a step."""
        self._monitor.add(outputs["loss"].view(1))
        self._timer.mark()
        self._images_per_step.append(len(batch[1]))

    def on_train_epoch_end(self, trainer: Trainer, _module: LightningModule) -> None:
        """Hand the epoch to the course, which validates; stop where it says so."""
        mean_loss = self._monitor.finish(self._images_per_step)
        synchronize(self._engine.device)
        phase = TrainPhase(
            mean_loss=mean_loss,
            seconds=time.perf_counter() - self._batches.began,
            images=sum(self._images_per_step),
            step_seconds=self._timer.step_seconds(),
            data_wait_seconds=self._batches.waited.seconds,
            losses_S=self._monitor.losses_S,
        )
        trainer.should_stop = not self._course.finish_epoch(phase)
