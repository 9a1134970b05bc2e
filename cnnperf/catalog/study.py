"""The study that cnnperf turns into a benchmark: its recipe and its published results.

"Exploring Deep Networks for Image Classification: A Comparative Study of VGG, ResNet, and a
Custom Architecture". It does not name its GPU.
"""

from __future__ import annotations

from dataclasses import dataclass

from cnnperf.catalog.specs import Recipe

STUDY = Recipe(name="report")
"""The study's training: 10 epochs, mini-batches of 128, Adam at 1e-3, cross-entropy.

Records and case ids (`report30`) hold the name `report`, so it stays.
"""


@dataclass(frozen=True, kw_only=True)
class StudyResult:
    """One row of the study's table of results."""

    train_seconds: float | None
    test_accuracy: float
    """Fraction of the test images, 0 to 1; so is `test_f1`."""
    test_f1: float


STUDY_RESULTS = {
    ("vgg16", "mnist"): StudyResult(train_seconds=3460, test_accuracy=0.986, test_f1=0.985),
    ("resnet34", "mnist"): StudyResult(train_seconds=2815, test_accuracy=0.992, test_f1=0.991),
    ("modified_vgg", "mnist"): StudyResult(train_seconds=199, test_accuracy=0.990, test_f1=0.990),
    ("modified_resnet", "mnist"): StudyResult(
        train_seconds=235, test_accuracy=0.989, test_f1=0.989
    ),
    ("modified_vgg", "cifar10"): StudyResult(train_seconds=None, test_accuracy=0.55, test_f1=0.547),
}


def study_result(model: str, dataset: str, recipe: str) -> StudyResult | None:
    """Return what the study measured for this training; None if its table has no such row."""
    return STUDY_RESULTS.get((model, dataset)) if recipe == STUDY.name else None
