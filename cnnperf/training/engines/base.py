"""The base class of all engines: prepare, load data, train, evaluate.

An engine executes a recipe; it does not change what is learned. `cnnperf.training.loop` calls it
and keeps the clock. The base class has a plain training step, epoch loop and evaluation. Each
engine supplies its batches and overrides what it does differently.

Shapes: B images of a batch, C channels, H W pixels, K classes, S steps of an epoch.
"""

from __future__ import annotations

import contextlib
import copy
import pkgutil
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from typing import Any, Literal

import torch
from torch import nn

from cnnperf.catalog.registry import get_dataset, get_model, input_channels
from cnnperf.catalog.specs import Case
from cnnperf.models import build_model, model_sha256
from cnnperf.record.environment import Flag
from cnnperf.training.clock import synchronize
from cnnperf.training.data import RawImages, Splits, split_images
from cnnperf.training.data.augment import augment
from cnnperf.training.data.normalisation import with_normalisation
from cnnperf.training.data.splits import described_sha256, label_flags
from cnnperf.training.engines.phase import (
    EpochHandler,
    Observer,
    PhaseRecorder,
    TrainPhase,
    WaitingTime,
)
from cnnperf.training.evaluation import Evaluation, Tally
from cnnperf.training.ranks import ALONE, Ranks
from cnnperf.training.recipe import LearningRate, Loss, WeightAverage, build_loss, build_optimizer
from cnnperf.training.worker.torch_environment import tf32_cudnn

SMALL_RESOLUTION = 64
"""Images of up to this many pixels a side are cheap to process in large batches."""

SplitName = Literal["validation", "test"]

Batch = tuple[torch.Tensor, torch.Tensor]
"""Images (B, C, H, W) and labels (B)."""

Block = tuple[torch.Tensor, list[int]]
"""Mean losses of some steps, on the device, and the number of images of each step."""


def channels_last(batch: Batch) -> Batch:
    """Return the batch with its images channels last in memory.

    `contiguous(memory_format=torch.channels_last)` does not do for one channel, whose stride it
    leaves large: cuDNN would then write its result in the other layout.
    """
    images_BCHW, labels_B = batch
    images_BHWC = images_BCHW.permute(0, 2, 3, 1).clone(memory_format=torch.contiguous_format)
    return images_BHWC.permute(0, 3, 1, 2), labels_B


class Engine(ABC):
    """One training of one case on one device.

    Args:
        case: the case to train.
        seed: seed of the weights, the order of images and dropout.
        device: the device to train on.
        data_dir: the folder of the data sets.
        ranks: this process among those that train together.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    splits: Splits
    foreign_loop = False
    """Whether another package's loop trains; it does not use `train_blocks`, which is profiled."""

    def __init__(
        self,
        *,
        case: Case,
        seed: int,
        device: torch.device,
        data_dir: str,
        ranks: Ranks = ALONE,
    ) -> None:
        self.case = case
        self.recipe = case.recipe.model_copy(update={"batch_size": case.images_per_step})
        """The case's; the batch is that of all ranks together."""
        self.ranks = ranks
        self.shared_model: nn.Module | None = None
        """The model with gradients averaged over the ranks; None without a group, and on a copy."""
        self.weight = 1.0
        """Factor of the loss, where ranks have different numbers of images (`Ranks.weight`)."""
        self.seed = seed
        self.device = device
        self.data_dir = data_dir
        self.dataset = get_dataset(case.dataset).at(case.resolution)
        self.channels = input_channels(get_model(case.model), self.dataset)
        self.fed_channels = self.channels
        """Channels of the batches; `fast` feeds one of three equal ones."""
        self.loss_function: Loss = build_loss(self.recipe)
        self.average: WeightAverage | None = None
        """Moving average of the weights, if the recipe has one; it is what is evaluated."""
        self.waiting_batches = 0
        """Batches whose gradients no update has used yet; 0 unless the recipe accumulates."""
        self.autocast_dtype: torch.dtype | None = None
        self.compile_seconds: float | None = None
        self.settings: dict[str, Any] = {}
        """Fields of `cnnperf.record.environment.Settings` that the engine sets, by name."""
        self.captured_peak_bytes = 0
        """Peak bytes allocated while steps were captured; replaying them allocates nothing."""
        self.flags: list[Flag] = []
        """Warnings and notes for the record of this repeat."""
        self.waiting_time: Callable[[Iterable[Any]], WaitingTime[Any]] = WaitingTime
        """Times the wait for data; a profile replaces it to mark the wait in its trace."""

    # --- before the clock starts ------------------------------------------------------------

    def prepare(self) -> None:
        """Build the model and warm up on synthetic data, without any effect on training."""
        if self.dataset.pipeline is None:
            pkgutil.resolve_name(self.dataset.import_path)  # imports must not be on the clock
        if self.dataset.arguments.get("cache") is not None:
            self.read_images()  # the first repeat fills the cache, which must not be on its clock
        torch.manual_seed(self.seed)
        model = self.make_model()
        self.model_sha256 = model_sha256(model)
        self.model = self.place(model)
        self.optimizer = self.build_optimizer(self.model)
        if self.recipe.ema_decay is not None:
            self.average = WeightAverage(self.model, self.recipe.ema_decay)
        self.shared_model = self.share_model()
        self.warm_up()
        if self.average is not None:
            self.average.reset()
        self.learning_rate = LearningRate(self.recipe, self.optimizer, *self.update_counts())
        # Dropout must not depend on the warm-up, and each rank drops others.
        torch.manual_seed(self.seed + (self.ranks.rank << 32))

    def update_counts(self) -> tuple[int, int]:
        """Return the number of updates of an epoch, and of the whole training."""
        each = self.recipe.accumulate_steps
        of_epoch = -(-self.steps_per_epoch() // each)
        whole = self.recipe.epochs * of_epoch
        return of_epoch, min(whole, -(-(self.recipe.max_steps or whole * each) // each))

    def make_model(self) -> nn.Module:
        """Build the case's model on the CPU, with fresh weights from torch's generator."""
        return build_model(
            self.case.model,
            num_classes=self.dataset.num_classes,
            in_channels=self.channels,
            resolution=self.case.resolution,
        )

    def place(self, model: nn.Module) -> nn.Module:
        """Move a fresh model to the device and prepare it for training."""
        return model.to(self.device)

    def share_model(self) -> nn.Module | None:
        """Return the model with gradients averaged over the ranks; None without a group."""
        return self.ranks.wrap(self.model)

    def build_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """Create the recipe's optimizer for a model's parameters."""
        return build_optimizer(self.recipe, model.parameters())

    @abstractmethod
    def warm_up(self) -> None:
        """Run steps on noise that leave the model, its statistics and the optimizer unchanged."""

    @contextmanager
    def on_a_copy(self) -> Iterator[None]:
        """Use copies of model and optimizer, which are discarded afterwards."""
        kept = self.model, self.optimizer, self.average, self.shared_model
        self.shared_model = None
        self.model = copy.deepcopy(self.model)
        self.optimizer = self.build_optimizer(self.model)
        if self.average is not None:
            self.average = WeightAverage(self.model, self.recipe.ema_decay or 0.0)
        try:
            yield
        finally:
            self.model, self.optimizer, self.average, self.shared_model = kept
            self.waiting_batches = 0

    def train_step(self, batch_size: int | None = None) -> None:
        """Take one step on noise, for warm-up; the default batch size is this rank's."""
        self.model.train()
        self.step(self.noise(batch_size or self.own_batch_size))

    def step_alone(self) -> Callable[[], object]:
        """Return a step of this rank without the others; use it on a copy."""
        return self.train_step

    @property
    def own_batch_size(self) -> int:
        """Images of a whole batch that this rank trains."""
        return len(range(self.recipe.batch_size)[self.ranks.share(self.recipe.batch_size)])

    def noise(self, size: int) -> Batch:
        """Return a batch of noise, shaped like training batches."""
        pixels = self.case.resolution
        images_BCHW = torch.randn(size, self.fed_channels, pixels, pixels, device=self.device)
        return images_BCHW, torch.arange(size, device=self.device) % self.dataset.num_classes

    # --- on the clock -----------------------------------------------------------------------

    @abstractmethod
    def load_data(self) -> None:
        """Read the data set; this is the first work on the clock."""

    def read_splits(self) -> Splits:
        """Read the case's data set from disk and split it; measure its normalisation if needed."""
        splits = split_images(self.dataset, self.read_images())
        self.dataset = with_normalisation(self.dataset, splits.train.images_NHWC)
        self.flags += label_flags(self.dataset, splits.train.labels_N)
        return splits

    def read_images(self) -> RawImages:
        """Read the case's data set from disk."""
        load = pkgutil.resolve_name(self.dataset.import_path)
        images: RawImages = load(self.data_dir, **self.dataset.arguments)
        return images

    def dataset_sha256(self) -> str:
        """Return the hash of the data: pixels and labels, or what describes a pipeline."""
        described = get_dataset(self.case.dataset)
        return described_sha256(described, None if described.pipeline else self.splits)

    def train(self, handler: EpochHandler) -> None:
        """Train epoch by epoch until the handler stops."""
        for epoch in range(1, self.recipe.epochs + 1):
            phase = self.train_epoch(epoch, handler.observer(epoch), handler.steps_left)
            if not handler.finish_epoch(phase):
                break

    def steps_per_epoch(self) -> int:
        """Return the number of training batches of an epoch; the last may be short."""
        return self.recipe.steps_per_epoch(self.dataset.train_images)

    def steps_in_epoch(self, steps_left: int | None) -> int:
        """Return the steps of the next epoch, which a limit on steps may cut short."""
        return min(self.steps_per_epoch(), steps_left or self.steps_per_epoch())

    @abstractmethod
    def train_batches(self) -> Iterable[Batch]:
        """Yield the training images on the device, each once, in a new order."""

    def train_epoch(
        self, epoch: int, observer: Observer, max_steps: int | None = None
    ) -> TrainPhase:
        """Train one epoch, counted from 1, or only its first `max_steps` steps."""
        steps = self.steps_in_epoch(max_steps)
        recorder = self.recorder(epoch, steps, observer)
        self.model.train()
        self.data_wait_seconds = 0.0
        synchronize(self.device)  # earlier work, such as a resize, must not count as a step
        start_seconds = time.perf_counter()
        recorder.start()
        for losses_K, images in self.train_blocks(steps):
            recorder.add(losses_K, images)
        if self.waiting_batches:
            self.update()
            self.learning_rate.after_update()
        return recorder.finish(start_seconds, self.data_wait_seconds)

    def recorder(self, epoch: int, steps: int, observer: Observer) -> PhaseRecorder:
        """Return what collects the losses and times of an epoch."""
        return PhaseRecorder(
            self.device, steps=steps, epoch=epoch, observer=observer, ranks=self.ranks
        )

    def images_in_step(self, step: int) -> int:
        """Return the images that all ranks train in a step of an epoch, counted from 0."""
        size = self.recipe.batch_size
        return min(size, self.dataset.train_images - step * size)

    def weigh(self, batch_images: int) -> int:
        """Set the weight of this rank's share of a batch, and return its number of images.

        A rank without a share, in a short last batch, trains one image with weight 0: all ranks
        must take part in every step.
        """
        if self.ranks.size == 1:
            return batch_images
        images = len(range(batch_images)[self.ranks.share(batch_images)])
        self.weight = self.ranks.weight(images, batch_images)
        return images

    def train_blocks(self, steps: int) -> Iterator[Block]:
        """Train the first steps of an epoch; yield whenever the host regains control."""
        waited = self.waiting_time(self.train_batches())
        for number, batch in enumerate(islice(waited, steps)):
            self.data_wait_seconds = waited.seconds
            images = len(batch[1])
            if self.ranks.size > 1:
                images = self.weigh(self.images_in_step(number))
            loss = self.step(batch)
            if not self.waiting_batches:
                self.learning_rate.after_update()
            yield loss.view(1), [images]

    def step(self, batch: Batch) -> torch.Tensor:
        """Run forward, backward and update; return the mean loss of the batch, a scalar.

        If the recipe accumulates gradients, only every so many batches end with an update.
        """
        images_BCHW, labels_B = batch
        images_BCHW = augment(images_BCHW, self.recipe.augmentation)
        accumulated = self.recipe.accumulate_steps
        if not self.waiting_batches:
            self.optimizer.zero_grad(set_to_none=True)
        with self.autocast():
            loss = self.forward_loss(images_BCHW, labels_B)
        share = loss if accumulated == 1 else loss / accumulated
        share = share if self.weight == 1 else share * self.weight
        self.ranks.mark()
        # Gradients that accumulate are averaged in every backward pass, not only before the update:
        # what they hold already is equal on all ranks, so it stays what it is.
        share.backward()  # type: ignore[no-untyped-call]
        self.waiting_batches += 1
        if self.waiting_batches == accumulated:
            self.update()
        return loss.detach()

    def update(self) -> None:
        """Update the weights from the gradients, and their average."""
        if self.recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip_norm)
        self.optimizer.step()
        if self.average is not None:
            self.average.update()
        self.waiting_batches = 0

    def forward_loss(self, images_BCHW: torch.Tensor, labels_B: torch.Tensor) -> torch.Tensor:
        """Return the mean loss of a batch, a scalar."""
        model = self.model if self.shared_model is None else self.shared_model
        return self.loss_function(model(images_BCHW), labels_B)

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the autocast context of a forward pass; it does nothing in float32."""
        if self.autocast_dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.autocast_dtype)

    @abstractmethod
    def evaluation_batches(self, split: SplitName) -> Iterable[Batch]:
        """Yield validation or test images on the device, in order: with ranks, this one's part."""

    def learned_weights(self) -> AbstractContextManager[Any]:
        """Return a context in which the model has the weights to evaluate: the average, if any."""
        return contextlib.nullcontext() if self.average is None else self.average.in_use()

    def predict(self, images_BCHW: torch.Tensor) -> torch.Tensor:
        """Return the logits (B, K) of a batch of evaluation."""
        with self.autocast():
            logits_BK: torch.Tensor = self.model(images_BCHW)
        return logits_BK

    def evaluate(self, split: SplitName) -> Evaluation:
        """Predict a split, without training on it."""
        start = time.perf_counter()
        self.ranks.average_statistics(self.model)
        self.model.eval()
        tally = Tally(self.dataset.num_classes, self.device)
        with self.learned_weights(), torch.inference_mode():
            for images_BCHW, labels_B in self.evaluation_batches(split):
                tally.add(self.predict(images_BCHW), labels_B)
            mean_loss, confusion_KK = tally.read(self.ranks)
        return Evaluation(
            mean_loss=mean_loss, confusion_KK=confusion_KK, seconds=time.perf_counter() - start
        )

    @property
    def precision(self) -> Literal["float32", "tf32", "bfloat16", "float16"]:
        """Precision of convolutions and matrix products."""
        if self.autocast_dtype is not None:
            return "bfloat16" if self.autocast_dtype == torch.bfloat16 else "float16"
        return self.plain_precision

    @property
    def plain_precision(self) -> Literal["float32", "tf32"]:
        """Precision for float32 tensors: TF32 if the GPU has it and cuDNN may use it (default)."""
        ampere_or_later = self.device.type == "cuda" and torch.cuda.get_device_capability(
            self.device
        ) >= (8, 0)
        return "tf32" if ampere_or_later and tf32_cudnn() else "float32"
