"""The `fast` engine: the same training, executed as near to the hardware's limit as we can.

Torch half. The same data, split, batch size, optimizer and metrics as `eager`; what differs is how
they are executed:

- the data set lives on the device as bytes, resized once, and a batch is a gather;
- multiplications in bfloat16 where a short measurement says that this is faster here;
- channels last in memory, and Adam in one fused kernel;
- a grey image that a model takes three times is convolved once (`fold_grey_input`);
- evaluation in large batches, and no waiting for the device within an epoch.

Shapes: `B` images of a batch, `N` of a split, `C` channels, `H W` pixels, `K` classes.
"""

from __future__ import annotations

import copy
import time
from typing import Literal

import torch
from torch import nn

from cnnperf.clock import StepTimer, synchronize
from cnnperf.engines.base import Engine, Evaluation, Observer, SplitName, TrainPhase
from cnnperf.engines.fold import fold_grey_input
from cnnperf.engines.resident import ResidentSplit
from cnnperf.environment.settings import tf32_cudnn
from cnnperf.losses import LossMonitor
from cnnperf.models import build_model

Batch = tuple[torch.Tensor, torch.Tensor]

TRIAL_STEPS = 2
"""Of each precision, after one that is not timed; the faster one trains."""

TRIAL_BATCH_CPU = 4
"""For the 224-pixel models, a batch of 128 of which takes a CPU minutes."""

WORTHWHILE = 1.05
"""bfloat16 must be this much faster to be taken: below, it would cost precision for nothing."""

SMALL_RESOLUTION = 64
"""Up to this many pixels a side, a whole batch is used even on a CPU, and evaluation takes 1,000
images at once; above, 125."""


class FastEngine(Engine):
    """Plain PyTorch's mathematics at the device's speed; see the module's text."""

    def prepare(self) -> None:
        """Build model and optimizer, choose the precision, and warm up, on copies of them."""
        torch.manual_seed(self.seed)
        self.model = build_model(
            self.case.model,
            num_classes=self.dataset.num_classes,
            in_channels=self.channels,
            resolution=self.case.resolution,
        )
        self.fed_channels = self.channels
        if self.channels == 3 and self.dataset.channels == 1:
            fold_grey_input(self.model)
            self.fed_channels = 1
        self.model = self.model.to(self.device).to(memory_format=torch.channels_last)
        self.loss_function = nn.CrossEntropyLoss()
        self.optimizer = self._build_optimizer(self.model)
        self.autocast_dtype = self._choose_precision()
        torch.manual_seed(self.seed)  # so that dropout does not depend on the trials

    def _build_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        fused = self.device.type in ("cpu", "cuda", "xpu")
        return torch.optim.Adam(model.parameters(), lr=self.recipe.learning_rate, fused=fused)

    def _choose_precision(self) -> torch.dtype | None:
        """bfloat16 where it makes a step faster here, else None for float32."""
        seconds: dict[torch.dtype | None, float] = {}
        for dtype in (None, torch.bfloat16):
            try:
                seconds[dtype] = self._trial_seconds(dtype)
            except RuntimeError:  # a device without it
                if dtype is None:
                    raise
        reduced = seconds.get(torch.bfloat16)
        worthwhile = reduced is not None and reduced * WORTHWHILE < seconds[None]
        return torch.bfloat16 if worthwhile else None

    def _trial_seconds(self, dtype: torch.dtype | None) -> float:
        """Time of a step in that precision, on a copy of the model that is thrown away."""
        small = self.case.resolution <= SMALL_RESOLUTION
        on_cpu = self.device.type == "cpu"
        size = self.recipe.batch_size if small or not on_cpu else TRIAL_BATCH_CPU
        trained, optimizer = self.model, self.optimizer
        self.autocast_dtype = dtype
        self.model = copy.deepcopy(trained)
        if self.fed_channels != self.channels:
            fold_grey_input(self.model)  # the copy's fold must use the copy's weights
        self.optimizer = self._build_optimizer(self.model)
        try:
            self.train_step(size)
            synchronize(self.device)
            start = time.perf_counter()
            for _ in range(TRIAL_STEPS):
                self.train_step(size)
            synchronize(self.device)
            return (time.perf_counter() - start) / TRIAL_STEPS
        finally:
            self.model, self.optimizer = trained, optimizer

    def train_step(self, batch_size: int | None = None) -> None:
        """One step on noise, `batch_size` images (default: the recipe's)."""
        size = batch_size or self.recipe.batch_size
        pixels = self.case.resolution
        images_BCHW = torch.randn(size, self.fed_channels, pixels, pixels, device=self.device)
        images_BCHW = images_BCHW.contiguous(memory_format=torch.channels_last)
        labels_B = torch.arange(size, device=self.device) % self.dataset.num_classes
        self.model.train()
        self._step((images_BCHW, labels_B))

    def load_data(self) -> None:
        """Read the data set, copy it to the device and resize it there."""
        self.splits = self.read_splits()
        self.resident = {
            name: ResidentSplit(
                split,
                self.dataset,
                resolution=self.case.resolution,
                channels=self.fed_channels,
                device=self.device,
            )
            for name, split in (("train", self.splits.train), ("validation", self.splits.val))
        }
        self._order = torch.Generator(device=self.device).manual_seed(self.seed)

    def steps_per_epoch(self) -> int:
        """Batches of the training split, the last of which may be short."""
        return -(-len(self.resident["train"]) // self.recipe.batch_size)

    def train_epoch(
        self, epoch: int, observer: Observer, max_steps: int | None = None
    ) -> TrainPhase:
        """Train one epoch in a new order; the losses stay on the device until someone looks."""
        split = self.resident["train"]
        steps = min(self.steps_per_epoch(), max_steps or self.steps_per_epoch())
        monitor = LossMonitor(steps=steps, epoch=epoch, device=self.device, on_look=observer)
        timer = StepTimer(self.device)
        self.model.train()
        start = time.perf_counter()
        timer.mark()
        order_N = torch.randperm(len(split), device=self.device, generator=self._order)
        batches = torch.split(order_N, self.recipe.batch_size)[:steps]
        gathering_seconds = 0.0
        for rows_B in batches:
            before = time.perf_counter()
            batch = split.batch(rows_B)
            gathering_seconds += time.perf_counter() - before
            monitor.add(self._step(batch))
            timer.mark()
        images_per_step = [len(rows_B) for rows_B in batches]
        mean_loss = monitor.finish(images_per_step)
        synchronize(self.device)
        return TrainPhase(
            mean_loss=mean_loss,
            seconds=time.perf_counter() - start,
            images=sum(images_per_step),
            step_seconds=timer.step_seconds(),
            data_wait_seconds=gathering_seconds,
        )

    def _autocast(self) -> torch.autocast:
        return torch.autocast(
            self.device.type,
            dtype=self.autocast_dtype or torch.bfloat16,
            enabled=self.autocast_dtype is not None,
        )

    def _step(self, batch: Batch) -> torch.Tensor:
        """Forward, backward, update; returns the mean loss of the batch, a scalar."""
        images_BCHW, labels_B = batch
        self.optimizer.zero_grad(set_to_none=True)
        with self._autocast():
            loss: torch.Tensor = self.loss_function(self.model(images_BCHW), labels_B)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return loss.detach()

    @torch.inference_mode()
    def evaluate(self, split: SplitName) -> Evaluation:
        """Predict validation or test images in large batches."""
        start = time.perf_counter()
        resident = self.resident.get(split) or self._resident_test()
        size = 1000 if self.case.resolution <= SMALL_RESOLUTION else 125
        self.model.eval()
        losses, predicted = [], []
        for first in range(0, len(resident), size):
            images_BCHW, labels_B = resident.slice(first, first + size)
            with self._autocast():
                logits_BK = self.model(images_BCHW)
                loss = self.loss_function(logits_BK, labels_B)
            losses.append(loss.float() * len(labels_B))
            predicted.append(logits_BK.argmax(dim=1))
        return Evaluation(
            mean_loss=float(torch.stack(losses).cpu().double().sum()) / len(resident),
            labels_N=resident.labels_N.cpu().numpy(),
            predicted_N=torch.cat(predicted).cpu().numpy(),
            seconds=time.perf_counter() - start,
        )

    def _resident_test(self) -> ResidentSplit:
        """The test images, which nothing before needs."""
        return ResidentSplit(
            self.splits.test,
            self.dataset,
            resolution=self.case.resolution,
            channels=self.fed_channels,
            device=self.device,
        )

    @property
    def precision(self) -> Literal["float32", "tf32", "bfloat16"]:
        """What the multiplications are done in."""
        if self.autocast_dtype is not None:
            return "bfloat16"
        ampere_or_later = self.device.type == "cuda" and torch.cuda.get_device_capability(
            self.device
        ) >= (8, 0)
        return "tf32" if ampere_or_later and tf32_cudnn(torch) else "float32"
