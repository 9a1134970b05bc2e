"""Compute loss, accuracy, macro F1, per-class scores and the confusion matrix from predictions.

All scores follow from the confusion matrix. It is counted on the device and read once: copying and
sorting every epoch's predictions would take a fast GPU longer than making them.

Shapes: B images of a batch, K classes; `confusion_KK[true class, predicted class]`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from cnnperf.record.schema import PerClass

Counts = npt.NDArray[np.int64]


class Tally:
    """Loss and confusion matrix of a split, kept on the device until `read`.

    Args:
        num_classes: K.
        device: device of the predictions.
    """

    def __init__(self, num_classes: int, device: torch.device) -> None:
        self._num_classes = num_classes
        self._counts = torch.zeros(num_classes * num_classes, dtype=torch.int64, device=device)
        self._loss_sums: list[torch.Tensor] = []

    def add(self, logits_BK: torch.Tensor, labels_B: torch.Tensor) -> None:
        """Count a batch without waiting for the device."""
        self._loss_sums.append(
            functional.cross_entropy(logits_BK.float(), labels_B, reduction="sum")
        )
        cells_B = labels_B * self._num_classes + logits_BK.argmax(dim=1)
        self._counts.index_add_(0, cells_B, torch.ones_like(cells_B))

    def read(self) -> tuple[float, Counts]:
        """Wait for the device and return the mean loss per image and the confusion matrix."""
        confusion_KK: Counts = self._counts.cpu().numpy().reshape(self._num_classes, -1)
        loss_sum = float(torch.stack(self._loss_sums).cpu().double().sum())
        return loss_sum / int(confusion_KK.sum()), confusion_KK


def accuracy_and_f1(confusion_KK: Counts) -> tuple[float, float]:
    """Return accuracy and macro F1 as fractions; a class that never occurs has F1 0."""
    accuracy = np.trace(confusion_KK) / confusion_KK.sum()
    return float(accuracy), float(np.mean(per_class_scores(confusion_KK).f1))


def per_class_scores(confusion_KK: Counts) -> PerClass:
    """Return precision, recall and F1 of each class; undefined values are 0."""
    right_K = np.diag(confusion_KK)
    true_K, predicted_K = confusion_KK.sum(axis=1), confusion_KK.sum(axis=0)
    return PerClass(
        precision=_ratios(right_K, predicted_K),
        recall=_ratios(right_K, true_K),
        f1=_ratios(2 * right_K, true_K + predicted_K),
    )


def _ratios(part_K: Counts, whole_K: Counts) -> list[float]:
    ratios: list[float] = (part_K / np.maximum(whole_K, 1)).tolist()
    return ratios
