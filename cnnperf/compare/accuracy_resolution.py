"""How finely a test set can tell two accuracies apart.

Torch-free. An accuracy is a number of images over their number. Trainings that all lose the same
four images look as if nothing varied, but a loss of four images and a half on average would look
like that in every other row of three. What varies between two neighbouring counts alone has a
standard deviation of up to half an image, so no accuracy is taken to vary less.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, pairwise

from cnnperf.record.schema import CaseRecord

HALF = 0.5

ROUNDING = 1e-9
"""Figures that differ by less are the same: no test set has so many images."""


def least_sd(base: CaseRecord, new: CaseRecord, metric: str) -> float:
    """The least standard deviation of one accuracy, or of a difference of two: half an image.

    Of macro F1 too, which one image moves by about as much. The number of images is that of the
    smallest confusion matrix; where there is none, a step is the smallest that the figures show.
    """
    images = min(chain(_test_images(base), _test_images(new)), default=0)
    step = 1 / images if images else _smallest_step([*base.values(metric), *new.values(metric)])
    return HALF * step


def _test_images(case: CaseRecord) -> Iterator[int]:
    for repeat in case.repeats:
        images = sum(map(sum, repeat.confusion or ()))
        if images:
            yield images


def _smallest_step(values: Iterable[float]) -> float:
    """0 where all are equal."""
    steps = (above - below for below, above in pairwise(sorted(values)))
    return min((step for step in steps if step > ROUNDING), default=0.0)
