"""Divides a data set into train, validation and test, the same way in every run.

The division must not depend on a repeat's seed: repeats would then differ by what they learned
from, not only by how training went, and two records could not be compared. `dataset_sha256` goes
into the record to prove that they are the same.

    splits = split_images(DIGITS, load_digits("."))
    print(dataset_sha256(splits))
"""

# Shapes: N images, H W pixels, C channels.

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from cnnperf.catalog.specs import DatasetSpec
from cnnperf.errors import DataError
from cnnperf.training.data.draws import Rows, permutation
from cnnperf.training.data.sources import Images, Labels, RawImages

SPLIT_SEED = 0
"""Of the train/validation split; a constant, since another one makes other data sets."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """Images that are used for one purpose, with their labels."""

    images_NHWC: Images
    labels_N: Labels

    def __len__(self) -> int:
        return len(self.labels_N)


@dataclass(frozen=True, kw_only=True)
class Splits:
    """A data set, divided."""

    train: Split
    val: Split
    test: Split


def split_images(spec: DatasetSpec, raw: RawImages) -> Splits:
    """Divide the training images into train and validation; the test images stay as they are.

    Raises:
        DataError: the images are not as many, or not such, as the specification says.
    """
    _check_counts(spec, raw)
    for part in ("train", "test"):
        _check_images(spec, part, getattr(raw, f"{part}_images_NHWC"))
        _check_labels(spec, part, getattr(raw, f"{part}_labels_N"))
    train_rows, val_rows = split_rows(spec, raw)
    return Splits(
        train=_take(raw, train_rows),
        val=_take(raw, val_rows),
        test=Split(images_NHWC=raw.test_images_NHWC, labels_N=raw.test_labels_N),
    )


def split_rows(spec: DatasetSpec, raw: RawImages) -> tuple[Rows, Rows]:
    """Which training images are for training, and which for validation.

    Raises:
        DataError: the data set's own validation rows are not as many as the specification says,
            or name a row twice or one that is not there.
    """
    count = spec.train_images + spec.val_images
    if raw.val_rows_N is None:
        order = permutation(count, seed=SPLIT_SEED)
        return order[: spec.train_images], order[spec.train_images :]
    train_rows: Rows = np.setdiff1d(np.arange(count, dtype=np.int64), raw.val_rows_N)
    if len(raw.val_rows_N) != spec.val_images or len(train_rows) != spec.train_images:
        raise DataError(
            f"data set {spec.name}: its loader's {len(raw.val_rows_N)} validation rows leave "
            f"{len(train_rows)} training images, expected {spec.val_images} different rows below "
            f"{count}, leaving {spec.train_images}; mend {spec.loader}"
        )
    return train_rows, raw.val_rows_N


def dataset_sha256(splits: Splits) -> str:
    """SHA-256 over what is learned from and tested on: shapes, pixels and labels, in order."""
    digest = hashlib.sha256()
    for name in ("train", "val", "test"):
        split: Split = getattr(splits, name)
        digest.update(f"{name} {split.images_NHWC.shape}\n".encode())
        digest.update(np.ascontiguousarray(split.images_NHWC).data)
        # Little-endian on every machine.
        digest.update(np.ascontiguousarray(split.labels_N, dtype="<i8").data)
    return digest.hexdigest()


def _take(raw: RawImages, rows: Rows) -> Split:
    return Split(images_NHWC=raw.train_images_NHWC[rows], labels_N=raw.train_labels_N[rows])


def _check_counts(spec: DatasetSpec, raw: RawImages) -> None:
    expected = (spec.train_images + spec.val_images, spec.test_images)
    found = (len(raw.train_labels_N), len(raw.test_labels_N))
    if found != expected:
        raise DataError(
            f"data set {spec.name}: {spec.loader} gave {found[0]} training and {found[1]} test "
            f"images, expected {expected[0]} ({spec.train_images} train + {spec.val_images} "
            f"validation) and {expected[1]}; replace its files or correct its specification"
        )


def _check_images(spec: DatasetSpec, part: str, images_NHWC: Images) -> None:
    expected_HWC = (spec.resolution, spec.resolution, spec.channels)
    if images_NHWC.shape[1:] != expected_HWC:
        raise DataError(
            f"data set {spec.name}: {spec.loader} gave {part} images of shape "
            f"{images_NHWC.shape[1:]}, expected {expected_HWC}; replace its files or correct its "
            "specification"
        )


def _check_labels(spec: DatasetSpec, part: str, labels_N: Labels) -> None:
    lowest, highest = int(labels_N.min()), int(labels_N.max())
    if lowest < 0 or highest >= spec.num_classes:
        raise DataError(
            f"data set {spec.name}: {spec.loader} gave {part} labels from {lowest} to {highest}, "
            f"expected 0 to {spec.num_classes - 1}; replace its files or correct its specification"
        )
