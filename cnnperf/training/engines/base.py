"""What every engine does, whatever it does it with: prepare, read data, train, evaluate.

Torch half. An engine executes a recipe; it does not decide what is learned. `cnnperf.training.loop`
starts it and holds the clock. The training step, the loop over an epoch and the evaluation stand
here in their plain form; an engine says where its batches come from, and replaces what it does
better.

Shapes: `B` images of a batch, `C` channels, `H W` pixels, `K` classes, `S` steps of an epoch.
"""

from __future__ import annotations

import contextlib
import copy
import pkgutil
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, Literal, Protocol, TypeVar

import torch
from torch import nn

from cnnperf.catalog.registry import get_dataset, get_model, input_channels
from cnnperf.catalog.specs import Case
from cnnperf.models import build_model, model_sha256
from cnnperf.record.environment import Flag
from cnnperf.training.clock import StepTimer, synchronize
from cnnperf.training.data import Splits, split_images
from cnnperf.training.data.augment import augment
from cnnperf.training.evaluation import Counts, Tally
from cnnperf.training.losses import LossMonitor
from cnnperf.training.worker.torch_environment import tf32_cudnn

SplitName = Literal["validation", "test"]

Observer = Callable[[int, float], None]
"""Called as `observer(step, mean loss)` now and then during an epoch."""

Batch = tuple[torch.Tensor, torch.Tensor]
"""Images (B, C, H, W) and labels (B)."""

Block = tuple[torch.Tensor, list[int]]
"""Mean losses of K steps, on the device, and how many images each of them had."""


@dataclass(frozen=True, kw_only=True)
class TrainPhase:
    """One pass over the training images."""

    mean_loss: float
    seconds: float
    images: int
    step_seconds: list[float]
    data_wait_seconds: float
    losses_S: torch.Tensor
    """Mean loss of each step, on the host."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What a model made of a whole split."""

    mean_loss: float
    confusion_KK: Counts
    """Images by [true class, predicted class]."""
    seconds: float


class Course(Protocol):
    """Who keeps the clock and the log of a training, as an engine sees them."""

    def observer(self, epoch: int) -> Observer:
        """Whom to tell how an epoch goes."""

    @property
    def steps_left(self) -> int | None:
        """Training steps that may still be taken; None where only epochs count."""

    def finish_epoch(self, phase: TrainPhase) -> bool:
        """Validate after an epoch; returns whether to go on."""


class Engine(ABC):
    """One training of one case on one device.

    Args:
        case: what to train.
        seed: of weights, order and dropout.
        device: where.
        data_dir: where the data sets lie.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    splits: Splits
    foreign_loop = False
    """Whether another package's loop trains: `train_blocks`, and a profile of it, is not that."""

    def __init__(self, *, case: Case, seed: int, device: torch.device, data_dir: str) -> None:
        self.case = case
        self.recipe = case.recipe
        self.seed = seed
        self.device = device
        self.data_dir = data_dir
        self.dataset = get_dataset(case.dataset)
        self.channels = input_channels(get_model(case.model), self.dataset)
        self.loss_function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = (
            nn.CrossEntropyLoss()
        )
        self.autocast_dtype: torch.dtype | None = None
        self.compile_seconds: float | None = None
        self.settings: dict[str, Any] = {}
        """Fields of `cnnperf.record.environment.Settings` that only the engine knows, by name."""
        self.captured_peak_bytes = 0
        """Most bytes allocated while steps were captured: replaying them allocates nothing."""
        self.flags: list[Flag] = []
        """Reasons to doubt or to know this repeat, for its record."""
        self.waiting_time: Callable[[Iterable[Any]], WaitingTime[Any]] = WaitingTime
        """How waiting for data is timed; a profile marks it in its trace, too."""

    # --- before the clock starts ------------------------------------------------------------

    def prepare(self) -> None:
        """Build the model and warm up on synthetic data; nothing of it may show in training."""
        torch.manual_seed(self.seed)
        model = self.make_model()
        self.model_sha256 = model_sha256(model)
        self.model = self.place(model)
        self.optimizer = self.build_optimizer(self.model)
        self.warm_up()
        torch.manual_seed(self.seed)  # so that dropout does not depend on the warm-up

    def make_model(self) -> nn.Module:
        """The case's model with fresh weights, drawn from torch's generator, on the CPU."""
        return build_model(
            self.case.model,
            num_classes=self.dataset.num_classes,
            in_channels=self.channels,
            resolution=self.case.resolution,
        )

    def place(self, model: nn.Module) -> nn.Module:
        """Bring a fresh model to the device, in the form in which it is to be trained."""
        return model.to(self.device)

    def build_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """The recipe's optimizer for a model's parameters."""
        return torch.optim.Adam(model.parameters(), lr=self.recipe.learning_rate)

    @abstractmethod
    def warm_up(self) -> None:
        """Steps on noise that leave the model, its statistics and the optimizer as they were."""

    @contextmanager
    def on_a_copy(self) -> Iterator[None]:
        """Train on copies of model and optimizer, which are thrown away afterwards."""
        model, optimizer = self.model, self.optimizer
        self.model = copy.deepcopy(model)
        self.optimizer = self.build_optimizer(self.model)
        try:
            yield
        finally:
            self.model, self.optimizer = model, optimizer

    def train_step(self, batch_size: int | None = None) -> None:
        """One step on noise, `batch_size` images (default: the recipe's): warm-up."""
        self.model.train()
        self.step(self.noise(batch_size or self.recipe.batch_size))

    def noise(self, size: int) -> Batch:
        """A batch like the recipe's, of noise."""
        pixels = self.case.resolution
        images_BCHW = torch.randn(size, self.channels, pixels, pixels, device=self.device)
        return images_BCHW, torch.arange(size, device=self.device) % self.dataset.num_classes

    # --- on the clock -----------------------------------------------------------------------

    @abstractmethod
    def load_data(self) -> None:
        """Read the data set: the first thing on the clock."""

    def read_splits(self) -> Splits:
        """Read the case's data set from disk and divide it."""
        load = pkgutil.resolve_name(self.dataset.loader)
        return split_images(self.dataset, load(self.data_dir))

    def train(self, course: Course) -> None:
        """Train every epoch; after each the course validates and says whether to go on."""
        for epoch in range(1, self.recipe.epochs + 1):
            phase = self.train_epoch(epoch, course.observer(epoch), course.steps_left)
            if not course.finish_epoch(phase):
                break

    @abstractmethod
    def steps_per_epoch(self) -> int:
        """Training steps of one epoch; known once the data are loaded."""

    @abstractmethod
    def train_batches(self) -> Iterable[Batch]:
        """The training images on the device, each once, in a new order."""

    def train_epoch(
        self, epoch: int, observer: Observer, max_steps: int | None = None
    ) -> TrainPhase:
        """Train one epoch, counted from 1, or only its first `max_steps` steps.

        The losses stay on the device until someone looks.
        """
        steps = min(self.steps_per_epoch(), max_steps or self.steps_per_epoch())
        monitor = LossMonitor(steps=steps, epoch=epoch, device=self.device, on_look=observer)
        timer = StepTimer(self.device)
        images_per_step: list[int] = []
        self.model.train()
        self.data_wait_seconds = 0.0
        synchronize(self.device)  # what was asked of it before, such as a resize, is no step's time
        start = time.perf_counter()
        timer.mark()
        for losses_K, images in self.train_blocks(steps):
            monitor.add(losses_K)
            timer.mark(steps=len(images))
            images_per_step.extend(images)
        mean_loss = monitor.finish(images_per_step)
        synchronize(self.device)
        return TrainPhase(
            mean_loss=mean_loss,
            seconds=time.perf_counter() - start,
            images=sum(images_per_step),
            step_seconds=timer.step_seconds(),
            data_wait_seconds=self.data_wait_seconds,
            losses_S=monitor.losses_S,
        )

    def train_blocks(self, steps: int) -> Iterator[Block]:
        """Train the first steps of an epoch; yields as often as the host gets its hands back."""
        waited = self.waiting_time(self.train_batches())
        for batch in islice(waited, steps):
            self.data_wait_seconds = waited.seconds
            yield self.step(batch).view(1), [len(batch[1])]

    def step(self, batch: Batch) -> torch.Tensor:
        """Forward, backward, update; returns the mean loss of the batch, a scalar."""
        images_BCHW, labels_B = batch
        images_BCHW = augment(images_BCHW, self.recipe.augmentation)
        self.optimizer.zero_grad(set_to_none=True)
        with self.autocast():
            loss = self.forward_loss(images_BCHW, labels_B)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return loss.detach()

    def forward_loss(self, images_BCHW: torch.Tensor, labels_B: torch.Tensor) -> torch.Tensor:
        """Mean loss of a batch, a scalar."""
        return self.loss_function(self.model(images_BCHW), labels_B)

    def autocast(self) -> AbstractContextManager[Any]:
        """The precision of a forward pass; nothing where that is the tensors' own."""
        if self.autocast_dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.autocast_dtype)

    @abstractmethod
    def evaluation_batches(self, split: SplitName) -> Iterable[Batch]:
        """Validation or test images on the device, in order."""

    @torch.inference_mode()
    def evaluate(self, split: SplitName) -> Evaluation:
        """Predict a split without learning from it."""
        start = time.perf_counter()
        self.model.eval()
        tally = Tally(self.dataset.num_classes, self.device)
        for images_BCHW, labels_B in self.evaluation_batches(split):
            with self.autocast():
                logits_BK = self.model(images_BCHW)
            tally.add(logits_BK, labels_B)
        mean_loss, confusion_KK = tally.read()
        return Evaluation(
            mean_loss=mean_loss, confusion_KK=confusion_KK, seconds=time.perf_counter() - start
        )

    @property
    def precision(self) -> Literal["float32", "tf32", "bfloat16", "float16"]:
        """What the multiplications are done in."""
        if self.autocast_dtype is not None:
            return "bfloat16" if self.autocast_dtype == torch.bfloat16 else "float16"
        return self.plain_precision

    @property
    def plain_precision(self) -> Literal["float32", "tf32"]:
        """What float32 tensors are multiplied in: TF32 where cuDNN may (its default) and can."""
        ampere_or_later = self.device.type == "cuda" and torch.cuda.get_device_capability(
            self.device
        ) >= (8, 0)
        return "tf32" if ampere_or_later and tf32_cudnn() else "float32"


T = TypeVar("T")


class WaitingTime(Generic[T]):
    """Iterates over batches, or chunks of them, and adds up the time that the host waited."""

    def __init__(self, items: Iterable[T]) -> None:
        start = time.perf_counter()
        self._items = iter(items)  # starts the workers of a DataLoader
        self.seconds = time.perf_counter() - start

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        start = time.perf_counter()
        try:
            return next(self._items)
        finally:
            self.seconds += time.perf_counter() - start
