"""What a test set of so many images can tell apart, and what equal differences are worth."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from cnnperf.compare.inputs import Side
from cnnperf.compare.judge import judge
from cnnperf.compare.rules import Rules
from cnnperf.compare.samples import least_sd
from cnnperf.compare.thresholds import MetricSettings, Thresholds
from cnnperf.compare.verdicts import MetricVerdict
from cnnperf.record.schema import CaseRecord
from tests.examples import example_case, example_case_record, example_record, example_repeat

DIGITS = 360
"""Its test images."""


def _case(wrong: Sequence[int], images: int = DIGITS, **fields: object) -> CaseRecord:
    """Trainings that have so many images wrong, all of one class."""
    half = images // 2
    repeats = [
        example_repeat(
            seed, 10 + seed / 100, test_accuracy=1 - n / images, test_f1_macro=1 - n / images
        ).model_copy(update={"confusion": [[half - n, n], [0, images - half]], **fields})
        for seed, n in enumerate(wrong)
    ]
    return example_case_record(example_case(dataset="digits"), repeats)


def _accuracy(base: CaseRecord, new: CaseRecord, margin: float) -> MetricVerdict:
    settings = {
        name: MetricSettings(margin=margin, floor=0) for name in ("test_accuracy", "test_f1_macro")
    }
    sides = (Side.of(example_record(case), "record.json") for case in (base, new))
    comparison = judge(*sides, Rules(thresholds=Thresholds(cases={base.id: settings})))
    f1 = comparison.cases[0].metrics["test_f1_macro"]
    accuracy = comparison.cases[0].metrics["test_accuracy"]
    assert (f1.verdict, f1.low, f1.high) == (accuracy.verdict, accuracy.low, accuracy.high)
    return accuracy


@pytest.mark.parametrize("n", [2, 3])
def test_equal_losses_are_not_certain(n: int) -> None:
    """A loss of 4 images may be one of 4.4, seen three times: that is as good as 4 in 20 rows."""
    verdict = _accuracy(_case([2] * n), _case([6] * n), margin=4.4 / DIGITS)
    assert verdict.verdict == "inconclusive"
    assert verdict.low is not None
    assert verdict.high is not None
    assert verdict.low < -4.4 / DIGITS
    assert verdict.high > verdict.low
    assert verdict.repeats_needed is not None


def test_equal_losses_within_a_margin_of_many_images_are_the_same() -> None:
    """Three points of digits are eleven images."""
    assert _accuracy(_case([2] * 3), _case([6] * 3), margin=0.03).verdict == "same"


def test_a_loss_in_every_training_is_still_found() -> None:
    """Twenty images, three times."""
    assert _accuracy(_case([2] * 3), _case([22] * 3), margin=0.03).verdict == "worse"


@pytest.mark.parametrize("images", [20, DIGITS])
def test_what_is_identical_is_the_same(images: int) -> None:
    """Equal seeds on a CPU: no difference in any pair, so the interval is a point."""
    verdict = _accuracy(_case([2, 3, 2], images), _case([2, 3, 2], images), margin=0.005)
    assert (verdict.verdict, verdict.low, verdict.high) == ("same", 0, 0)


def test_half_an_image_is_the_least_that_varies() -> None:
    """Of the smaller test set, should they differ."""
    assert least_sd(_case([1]), _case([1]), "test_accuracy") == 0.5 / DIGITS
    assert least_sd(_case([1]), _case([1], images=100), "test_accuracy") == 0.005


def test_without_a_confusion_matrix_the_figures_themselves_say_how_fine_they_are() -> None:
    """By the smallest step between any two of them; nothing where all are equal."""
    base = _case([1, 3, 5], images=1000, confusion=None)
    new = _case([5, 8, 5], images=1000, confusion=[])
    assert least_sd(base, new, "test_accuracy") == pytest.approx(0.001)
    assert least_sd(new, base, "test_f1_macro") == pytest.approx(0.001)
    assert least_sd(_case([1], confusion=None), _case([1], confusion=None), "test_accuracy") == 0
