"""The digits of scikit-learn; importing this module imports scikit-learn, which takes a second."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cnnperf.catalog.datasets import DIGITS
from cnnperf.errors import NotInstalledError
from cnnperf.training.data.draws import stratified_rows
from cnnperf.training.data.sources import RawImages

try:
    from sklearn import datasets as sklearn_datasets
except ImportError as error:
    raise NotInstalledError(
        f"data set digits is part of scikit-learn, which cannot be imported ({error}): install it "
        "with `pip install 'cnnperf[train]'`"
    ) from error

SPLIT_SEED = 0
MOST_DARK = 16
"""Largest pixel of scikit-learn's digits, which count the dark pixels of 4 x 4 blocks."""


def load_digits(data_dir: str | Path) -> RawImages:  # noqa: ARG001 - part of a package
    """Load the 1,797 handwritten digits of 8 x 8 pixels that are part of scikit-learn.

    Pixels 0..16 are scaled to 0..255 and rounded. scikit-learn does not split them; test and
    validation images are a fixed, stratified draw.
    """
    bundled = sklearn_datasets.load_digits()
    images_NHWC = np.rint(bundled.images * (255 / MOST_DARK)).astype(np.uint8)[..., None]
    labels_N = bundled.target.astype(np.int64)
    test_rows = stratified_rows(labels_N, DIGITS.test_images, seed=SPLIT_SEED)
    train_rows = np.setdiff1d(np.arange(len(labels_N)), test_rows)
    val_rows = stratified_rows(labels_N[train_rows], DIGITS.val_images, seed=SPLIT_SEED + 1)
    return RawImages(
        train_images_NHWC=images_NHWC[train_rows],
        train_labels_N=labels_N[train_rows],
        test_images_NHWC=images_NHWC[test_rows],
        test_labels_N=labels_N[test_rows],
        val_rows_N=val_rows,
    )
