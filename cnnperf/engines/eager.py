"""The `eager` engine: the recipe as a careful user of PyTorch would write it.

Torch half. torchvision's transforms image by image, a DataLoader, float32, no compiling, and
torch's own defaults for everything else. What the `fast` engine gains is measured against this.

Shapes: `B` images of a batch, `N` of a split, `C` channels, `H W` pixels, `K` classes.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Literal

import torch
from torch import nn
from torch.utils.data import DataLoader

from cnnperf.clock import StepTimer, synchronize
from cnnperf.data import Split, build_loader, build_transform, choose_workers
from cnnperf.engines.base import Engine, Evaluation, Observer, SplitName, TrainPhase
from cnnperf.environment.settings import tf32_cudnn
from cnnperf.losses import LossMonitor
from cnnperf.models import build_model

WARMUP_STEPS = 3
WARMUP_STEPS_CPU = 1
WARMUP_BATCH_CPU = 8
"""A CPU needs its kernels loaded, not its clocks raised; a 224-pixel batch of 128 takes minutes."""

Batch = tuple[torch.Tensor, torch.Tensor]


class EagerEngine(Engine):
    """Plain PyTorch; see the module's text."""

    def prepare(self) -> None:
        """Build model and optimizer, then warm up on copies of them."""
        torch.manual_seed(self.seed)
        self.model = build_model(
            self.case.model,
            num_classes=self.dataset.num_classes,
            in_channels=self.channels,
            resolution=self.case.resolution,
        ).to(self.device)
        self.loss_function = nn.CrossEntropyLoss()
        self.optimizer = self._build_optimizer(self.model)
        self._warm_up()
        torch.manual_seed(self.seed)  # so that dropout does not depend on the warm-up

    def _build_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.Adam(model.parameters(), lr=self.recipe.learning_rate)

    def _warm_up(self) -> None:
        """Steps on a copy of the model, which is thrown away: weights and statistics stay."""
        on_cpu = self.device.type == "cpu"
        batch_size = min(self.recipe.batch_size, WARMUP_BATCH_CPU if on_cpu else 1 << 30)
        trained, optimizer = self.model, self.optimizer
        self.model = copy.deepcopy(trained)
        self.optimizer = self._build_optimizer(self.model)
        for _ in range(WARMUP_STEPS_CPU if on_cpu else WARMUP_STEPS):
            self.train_step(batch_size)
        synchronize(self.device)
        self.model, self.optimizer = trained, optimizer

    def train_step(self, batch_size: int | None = None) -> None:
        """One step on noise, `batch_size` images (default: the recipe's)."""
        size = batch_size or self.recipe.batch_size
        pixels = self.case.resolution
        images_BCHW = torch.randn(size, self.channels, pixels, pixels, device=self.device)
        labels_B = torch.arange(size, device=self.device) % self.dataset.num_classes
        self.model.train()
        self._step((images_BCHW, labels_B))

    def load_data(self) -> None:
        """Read the data set and set up the loaders."""
        self.splits = self.read_splits()
        self.dataloader_workers = choose_workers(self.device.type)
        self.train_loader = self._loader(self.splits.train, shuffle=True)
        self.val_loader = self._loader(self.splits.val, shuffle=False)

    def _loader(self, split: Split, *, shuffle: bool) -> DataLoader[Batch]:
        return build_loader(
            split,
            build_transform(self.dataset, resolution=self.case.resolution, channels=self.channels),
            batch_size=self.recipe.batch_size,
            shuffle=shuffle,
            seed=self.seed,
            workers=self.dataloader_workers or 0,
            device_type=self.device.type,
        )

    def steps_per_epoch(self) -> int:
        """Batches of the training split, the last of which may be short."""
        return len(self.train_loader)

    def train_epoch(
        self, epoch: int, observer: Observer, max_steps: int | None = None
    ) -> TrainPhase:
        """Train one epoch; the losses stay on the device until someone looks."""
        steps = min(self.steps_per_epoch(), max_steps or self.steps_per_epoch())
        monitor = LossMonitor(steps=steps, epoch=epoch, device=self.device, on_look=observer)
        timer = StepTimer(self.device)
        images_per_step: list[int] = []
        self.model.train()
        start = time.perf_counter()
        timer.mark()
        waited = WaitingTime(self.train_loader)
        for batch in islice(waited, steps):
            monitor.add(self._step(self._to_device(batch)))
            timer.mark()
            images_per_step.append(len(batch[1]))
        mean_loss = monitor.finish(images_per_step)
        synchronize(self.device)
        return TrainPhase(
            mean_loss=mean_loss,
            seconds=time.perf_counter() - start,
            images=sum(images_per_step),
            step_seconds=timer.step_seconds(),
            data_wait_seconds=waited.seconds,
        )

    def _step(self, batch: Batch) -> torch.Tensor:
        """Forward, backward, update; returns the mean loss of the batch, a scalar."""
        images_BCHW, labels_B = batch
        self.optimizer.zero_grad(set_to_none=True)
        loss: torch.Tensor = self.loss_function(self.model(images_BCHW), labels_B)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return loss.detach()

    def _to_device(self, batch: Batch) -> Batch:
        images_BCHW, labels_B = batch
        return (
            images_BCHW.to(self.device, non_blocking=True),
            labels_B.to(self.device, non_blocking=True),
        )

    @torch.inference_mode()
    def evaluate(self, split: SplitName) -> Evaluation:
        """Predict validation or test images, in the recipe's batches."""
        start = time.perf_counter()
        loader = (
            self.val_loader
            if split == "validation"
            else self._loader(self.splits.test, shuffle=False)
        )
        self.model.eval()
        losses, labels, predicted = [], [], []
        for batch in loader:
            images_BCHW, labels_B = self._to_device(batch)
            logits_BK = self.model(images_BCHW)
            losses.append(self.loss_function(logits_BK, labels_B) * len(labels_B))
            labels.append(batch[1])
            predicted.append(logits_BK.argmax(dim=1))
        labels_N, predicted_N = torch.cat(labels), torch.cat(predicted).cpu()
        return Evaluation(
            mean_loss=float(torch.stack(losses).cpu().double().sum()) / len(labels_N),
            labels_N=labels_N.numpy(),
            predicted_N=predicted_N.numpy(),
            seconds=time.perf_counter() - start,
        )

    @property
    def precision(self) -> Literal["float32", "tf32"]:
        """float32, whose convolutions run as TF32 where cuDNN is allowed to (torch's default)."""
        ampere_or_later = self.device.type == "cuda" and torch.cuda.get_device_capability(
            self.device
        ) >= (8, 0)
        return "tf32" if ampere_or_later and tf32_cudnn(torch) else "float32"


class WaitingTime:
    """Iterates over batches and adds up the time that the host waited for them."""

    def __init__(self, batches: Iterable[Batch]) -> None:
        start = time.perf_counter()
        self._batches = iter(batches)  # starts the workers of a DataLoader
        self.seconds = time.perf_counter() - start

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        start = time.perf_counter()
        try:
            return next(self._batches)
        finally:
            self.seconds += time.perf_counter() - start
