"""What every engine does, whatever it does it with: prepare, read data, train, evaluate.

Torch half. An engine executes a recipe; it does not decide what is learned. `cnnperf.training`
drives it and holds the clock.
"""

from __future__ import annotations

import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from cnnperf.data import Splits, split_images
from cnnperf.registry import get_dataset, get_model, input_channels
from cnnperf.specs import Case

SplitName = Literal["validation", "test"]

Observer = Callable[[int, float], None]
"""Called as `observer(step, mean loss)` now and then during an epoch."""


@dataclass(frozen=True, kw_only=True)
class TrainPhase:
    """One pass over the training images."""

    mean_loss: float
    seconds: float
    images: int
    step_seconds: list[float]
    data_wait_seconds: float


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Predictions for a whole split, `N` images."""

    mean_loss: float
    labels_N: np.ndarray
    predicted_N: np.ndarray
    seconds: float


class Engine(ABC):
    """One training of one case on one device.

    Args:
        case: what to train.
        seed: of weights, order and dropout.
        device: where.
        data_dir: where the data sets lie.
    """

    def __init__(self, *, case: Case, seed: int, device: torch.device, data_dir: str) -> None:
        self.case = case
        self.recipe = case.recipe
        self.seed = seed
        self.device = device
        self.data_dir = data_dir
        self.dataset = get_dataset(case.dataset)
        self.channels = input_channels(get_model(case.model), self.dataset)
        self.model: torch.nn.Module
        self.splits: Splits
        self.compile_seconds: float | None = None
        self.dataloader_workers: int | None = None

    def read_splits(self) -> Splits:
        """Read the case's data set from disk and divide it."""
        load = pkgutil.resolve_name(self.dataset.loader)
        return split_images(self.dataset, load(self.data_dir))

    @abstractmethod
    def prepare(self) -> None:
        """Build the model and warm up on synthetic data; nothing of it may show in training."""

    @abstractmethod
    def load_data(self) -> None:
        """Read the data set: the first thing on the clock."""

    @abstractmethod
    def steps_per_epoch(self) -> int:
        """Training steps of one epoch; known once the data are loaded."""

    @abstractmethod
    def train_epoch(
        self, epoch: int, observer: Observer, max_steps: int | None = None
    ) -> TrainPhase:
        """Train one epoch, counted from 1, or only its first `max_steps` steps."""

    @abstractmethod
    def evaluate(self, split: SplitName) -> Evaluation:
        """Predict a split without learning from it."""

    @abstractmethod
    def train_step(self) -> None:
        """One step on the batch of synthetic data, for warm-up and profiles."""

    @property
    @abstractmethod
    def precision(self) -> Literal["float32", "tf32", "bfloat16", "float16"]:
        """What the multiplications are done in."""
