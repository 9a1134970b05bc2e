"""The digits that come with scikit-learn, read without importing it, which takes a second."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cnnperf.catalog.datasets import DIGITS
from cnnperf.errors import NotInstalledError
from cnnperf.training.data.draws import stratified_rows
from cnnperf.training.data.sources import RawImages

TABLE = Path("datasets", "data", "digits.csv.gz")
"""Place of the digits in scikit-learn."""

SPLIT_SEED = 0
MOST_DARK = 16
"""Largest pixel of scikit-learn's digits, which count the dark pixels of 4 x 4 blocks."""


def load_digits(data_dir: str | Path) -> RawImages:  # noqa: ARG001 - part of a package
    """Load the 1,797 handwritten digits of 8 x 8 pixels that are part of scikit-learn.

    Pixels 0..16 are scaled to 0..255 and rounded. scikit-learn does not split them; test and
    validation images are a fixed, stratified draw.
    """
    table = _read_table()
    images_NHWC = np.rint(table[:, :-1] * (255 / MOST_DARK)).astype(np.uint8).reshape(-1, 8, 8, 1)
    labels_N = table[:, -1].astype(np.int64)
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


def _read_table() -> npt.NDArray[np.float64]:
    """Read the file of scikit-learn's `load_digits`: the pixels of an image and its label a row."""
    package = find_spec("sklearn")
    file = Path(package.origin if package and package.origin else "").parent / TABLE
    if not file.is_file():
        raise NotInstalledError(
            f"data set digits is the file sklearn/{TABLE} of scikit-learn, which is not there: "
            "install it with `pip install 'cnnperf[train]'`"
        )
    return np.loadtxt(file, delimiter=",")
