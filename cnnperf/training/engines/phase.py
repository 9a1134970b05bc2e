"""Record one pass over the training images: losses, times, and the wait for data.

Shapes: K steps at once, S steps of an epoch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import torch

from cnnperf.training.clock import StepTimer, synchronize
from cnnperf.training.evaluation import LossMonitor
from cnnperf.training.ranks import ALONE, Ranks

Observer = Callable[[int, float], None]
"""Called as `observer(step, mean loss)` at intervals during an epoch."""


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


class EpochHandler(Protocol):
    """What an engine calls before and after each epoch."""

    def observer(self, epoch: int) -> Observer:
        """Return the observer of an epoch's progress."""

    @property
    def steps_left(self) -> int | None:
        """Number of steps left; None if only epochs are limited."""

    def finish_epoch(self, phase: TrainPhase) -> bool:
        """Validate after an epoch and return whether training continues."""


class PhaseRecorder:
    """Collect the losses and times of one epoch of training.

    The losses stay on the device, except at intervals and at the end.
    """

    def __init__(
        self,
        device: torch.device,
        *,
        steps: int,
        epoch: int,
        observer: Observer,
        ranks: Ranks = ALONE,
    ) -> None:
        self._device, self._ranks = device, ranks
        self._monitor = LossMonitor(steps=steps, epoch=epoch, device=device, on_look=observer)
        self._timer = StepTimer(device)
        self._images_per_step: list[int] = []

    def start(self) -> None:
        """Start the first step."""
        self._timer.mark()

    def add(self, losses_K: torch.Tensor, images_per_step: list[int]) -> None:
        """Add the mean losses of K steps and the number of images of each."""
        self._monitor.add(losses_K)
        self._timer.mark(steps=len(images_per_step))
        self._images_per_step.extend(images_per_step)

    def finish(self, start_seconds: float, data_wait_seconds: float) -> TrainPhase:
        """Wait for the device and return the losses and times.

        Args:
            start_seconds: `time.perf_counter()` at the start of the epoch.
            data_wait_seconds: time that the host waited for batches.
        """
        losses_S = self._monitor.finish()
        images_S = torch.tensor(self._images_per_step, dtype=torch.float64)
        losses_S, images_S = self._of_all_ranks(losses_S, images_S)
        synchronize(self._device)
        return TrainPhase(
            mean_loss=float((losses_S.double() * images_S).sum() / images_S.sum()),
            seconds=time.perf_counter() - start_seconds,
            images=int(images_S.sum()),
            step_seconds=self._timer.step_seconds(),
            data_wait_seconds=data_wait_seconds,
            losses_S=losses_S,
        )

    def _of_all_ranks(
        self, losses_S: torch.Tensor, images_S: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the mean loss of every step over the images of all ranks, and their number."""
        if self._ranks.size == 1:
            return losses_S, images_S
        sums_2S = self._ranks.total(torch.stack([losses_S.double() * images_S, images_S]))
        return sums_2S[0] / sums_2S[1], sums_2S[1]


T = TypeVar("T")


class WaitingTime(Generic[T]):
    """Iterate over batches or chunks and add up the host's waiting time in `seconds`."""

    def __init__(self, items: Iterable[T]) -> None:
        start = time.perf_counter()
        self._items = iter(items)  # starts a DataLoader's workers
        self.seconds = time.perf_counter() - start

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        start = time.perf_counter()
        try:
            return next(self._items)
        finally:
            self.seconds += time.perf_counter() - start
