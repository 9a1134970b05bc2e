"""From predictions to the report's figures: accuracy, macro F1, per class, confusion matrix.

Torch half (it needs scikit-learn). `N` images, `K` classes.
"""

from __future__ import annotations

import numpy as np
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support

from cnnperf.record import PerClass


def accuracy_and_f1(
    labels_N: np.ndarray, predicted_N: np.ndarray, num_classes: int
) -> tuple[float, float]:
    """Accuracy and macro F1, both fractions; a class that never occurs counts as F1 0."""
    per_class = per_class_scores(labels_N, predicted_N, num_classes)
    return float(accuracy_score(labels_N, predicted_N)), float(np.mean(per_class.f1))


def per_class_scores(labels_N: np.ndarray, predicted_N: np.ndarray, num_classes: int) -> PerClass:
    """Precision, recall and F1 of each class; 0 where they are not defined."""
    precision_K, recall_K, f1_K, _ = precision_recall_fscore_support(
        labels_N, predicted_N, labels=range(num_classes), zero_division=0.0
    )
    return PerClass(precision=precision_K.tolist(), recall=recall_K.tolist(), f1=f1_K.tolist())


def confusion(labels_N: np.ndarray, predicted_N: np.ndarray, num_classes: int) -> list[list[int]]:
    """Counts by [true class][predicted class]."""
    matrix_KK = confusion_matrix(labels_N, predicted_N, labels=range(num_classes))
    counts: list[list[int]] = matrix_KK.tolist()
    return counts
