"""Check the loss of every step, and compute scores from the predictions of a split.

The losses of an epoch stay in one tensor on the device. An accelerator's losses are read about
twice per second, for the progress display and to stop at the first loss that is not finite. On a
CPU reading is free, so every step is checked.

All scores follow from the confusion matrix. It is counted on the device and read once: copying and
sorting every epoch's predictions would take a fast GPU longer than making them.

Shapes: S steps of an epoch, K steps at once; B images of a batch, K classes;
`confusion_KK[true class, predicted class]`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from cnnperf.errors import NaNLossError
from cnnperf.record.schema import PerClass
from cnnperf.training.ranks import ALONE, Ranks

LOOK_SECONDS = 0.5
"""Time between two reads of an accelerator's losses."""


def check_finite(loss: float, where: str) -> None:
    """Raise `NaNLossError` unless a loss is a finite number."""
    if not math.isfinite(loss):
        raise NaNLossError(
            f"loss became {loss} in {where}: training diverged or the device computes wrongly; "
            "try a lower learning rate or another precision"
        )


class LossMonitor:
    """Collect and check the losses of one epoch.

    Args:
        steps: S, the number of steps of the epoch.
        epoch: number of the epoch, from 1.
        device: device of the losses.
        on_look: called as `on_look(step, mean loss since the last look)`, with plain numbers.
    """

    def __init__(
        self,
        *,
        steps: int,
        epoch: int,
        device: torch.device,
        on_look: Callable[[int, float], None],
    ) -> None:
        self._losses = torch.zeros(steps, device=device)
        self._epoch = epoch
        self._every_step = device.type == "cpu"
        self._on_look = on_look
        self._step = self._looked_at = 0
        self._next_look = time.monotonic() + (0.0 if self._every_step else LOOK_SECONDS)

    def add(self, losses_K: torch.Tensor) -> None:
        """Add the mean losses of the next K steps, a tensor (K) without history."""
        self._losses[self._step : self._step + len(losses_K)] = losses_K
        self._step += len(losses_K)
        overdue = time.monotonic() >= self._next_look
        if overdue or self._every_step:
            self._look(show=overdue)

    def _look(self, *, show: bool) -> None:
        fresh = self._losses[self._looked_at : self._step].tolist()
        for offset, loss in enumerate(fresh):
            check_finite(loss, f"epoch {self._epoch}, step {self._looked_at + offset + 1}")
        if show and fresh:
            self._next_look = time.monotonic() + LOOK_SECONDS
            self._on_look(self._step, sum(fresh) / len(fresh))
        self._looked_at = self._step

    def finish(self) -> torch.Tensor:
        """Check the remaining losses and return those of all steps (S), on the host."""
        self._look(show=False)
        return self._losses[: self._step].cpu()


Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Loss and predictions on a whole split."""

    mean_loss: float
    confusion_KK: Counts
    """Number of images by [true class, predicted class]."""
    seconds: float


class Tally:
    """Loss and confusion matrix of a split, kept on the device until `read`."""

    def __init__(self, num_classes: int, device: torch.device) -> None:
        self._num_classes = num_classes
        self._counts = torch.zeros(num_classes * num_classes, dtype=torch.int64, device=device)
        self._loss_sums: list[torch.Tensor] = []
        self._nothing = torch.zeros((), device=device)  # a rank may have no image

    def add(self, logits_BK: torch.Tensor, labels_B: torch.Tensor) -> None:
        """Count a batch without waiting for the device."""
        self._loss_sums.append(
            functional.cross_entropy(logits_BK.float(), labels_B, reduction="sum")
        )
        cells_B = labels_B * self._num_classes + logits_BK.argmax(dim=1)
        self._counts.index_add_(0, cells_B, torch.ones_like(cells_B))

    def read(self, ranks: Ranks = ALONE) -> tuple[float, Counts]:
        """Wait for the device and return the mean loss per image and the confusion matrix.

        Both are of the images of all ranks, of which each has counted its own.
        """
        counts = ranks.total(self._counts)
        confusion_KK: Counts = counts.numpy().reshape(self._num_classes, -1)
        losses = torch.stack(self._loss_sums or [self._nothing]).cpu().double()
        loss_sum = float(ranks.total(losses.sum()))
        return loss_sum / int(confusion_KK.sum()), confusion_KK


def accuracy_and_f1(confusion_KK: Counts) -> tuple[float, float]:
    """Return accuracy and macro F1 as fractions; a class that never occurs has F1 0."""
    accuracy = np.trace(confusion_KK) / confusion_KK.sum()
    return float(accuracy), float(np.mean(per_class_scores(confusion_KK).f1))


def per_class_scores(confusion_KK: Counts) -> PerClass:
    """Return precision, recall and F1 of each class; undefined values are 0."""

    def ratios(part_K: Counts, whole_K: Counts) -> list[float]:
        return [float(ratio) for ratio in part_K / np.maximum(whole_K, 1)]

    right_K = np.diag(confusion_KK)
    true_K, predicted_K = confusion_KK.sum(axis=1), confusion_KK.sum(axis=0)
    return PerClass(
        precision=ratios(right_K, predicted_K),
        recall=ratios(right_K, true_K),
        f1=ratios(2 * right_K, true_K + predicted_K),
    )
