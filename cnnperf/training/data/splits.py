"""Split a data set into train, validation and test, in the same way in every run.

The split does not depend on a repeat's seed. Otherwise repeats would learn from different images,
and records would not be comparable. The record holds `dataset_sha256` as the proof.

    splits = split_images(DIGITS, load_digits("."))
    print(dataset_sha256(splits))

Shapes: N images, H W pixels, C channels.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from cnnperf.catalog.datasets import BUILTIN_DATASETS
from cnnperf.catalog.specs import DatasetSpec
from cnnperf.errors import DataError
from cnnperf.record.environment import Flag
from cnnperf.training.data.draws import Rows, permutation
from cnnperf.training.data.sources import Images, Labels, RawImages

SPLIT_SEED = 0
"""Seed of the train/validation split; constant, because another seed makes another data set."""

MAX_NAMED = 5
"""Classes that a warning names."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """Images and labels for one purpose."""

    images_NHWC: Images
    labels_N: Labels

    def __len__(self) -> int:
        return len(self.labels_N)


@dataclass(frozen=True, kw_only=True)
class Splits:
    """A data set in three splits."""

    train: Split
    val: Split
    test: Split


def split_images(spec: DatasetSpec, raw: RawImages) -> Splits:
    """Split the training images into train and validation; the test images stay unchanged.

    Raises:
        DataError: images or labels do not match the specification.
    """
    problem = _problem(spec, raw)
    if problem is not None:
        raise DataError(
            f"data set {spec.name}: {_source(spec)} gave {problem}; replace its files or correct "
            "its specification"
        )
    train_rows, val_rows = split_rows(spec, raw)
    train, val = (
        Split(images_NHWC=raw.train_images_NHWC[rows], labels_N=raw.train_labels_N[rows])
        for rows in (train_rows, val_rows)
    )
    test = Split(images_NHWC=raw.test_images_NHWC, labels_N=raw.test_labels_N)
    return Splits(train=train, val=val, test=test)


def split_rows(spec: DatasetSpec, raw: RawImages) -> tuple[Rows, Rows]:
    """Return the rows of the training images for training, and those for validation.

    Raises:
        DataError: the data set's own validation rows are too few or too many, repeat a row, or
            contain a row that does not exist.
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
            f"{count}, leaving {spec.train_images}; correct {spec.loader}"
        )
    return train_rows, raw.val_rows_N


def dataset_sha256(splits: Splits) -> str:
    """Return the SHA-256 of all shapes, pixels and labels, in order."""
    digest = hashlib.sha256()
    for name in ("train", "val", "test"):
        split: Split = getattr(splits, name)
        digest.update(f"{name} {split.images_NHWC.shape}\n".encode())
        digest.update(np.ascontiguousarray(split.images_NHWC).data)
        digest.update(np.ascontiguousarray(split.labels_N, dtype="<i8").data)  # little-endian
    return digest.hexdigest()


def _problem(spec: DatasetSpec, raw: RawImages) -> str | None:
    """Describe the first mismatch between a data set and its specification, if there is one."""
    expected = (spec.train_images + spec.val_images, spec.test_images)
    found = (len(raw.train_labels_N), len(raw.test_labels_N))
    if found != expected:
        return (
            f"{found[0]} training and {found[1]} test images, expected {expected[0]} "
            f"({spec.train_images} train + {spec.val_images} validation) and {expected[1]}"
        )
    expected_HWC = (spec.resolution, spec.resolution, spec.channels)
    for part in ("train", "test"):
        found_HWC = getattr(raw, f"{part}_images_NHWC").shape[1:]
        labels_N = getattr(raw, f"{part}_labels_N")
        if (found := getattr(raw, f"{part}_images_NHWC").dtype.name) != spec.dtype:
            return f"{part} images of {found}, expected {spec.dtype}"
        if found_HWC != expected_HWC:
            return f"{part} images of shape {found_HWC}, expected {expected_HWC}"
        lowest, highest = int(labels_N.min()), int(labels_N.max())
        if lowest < 0 or highest >= spec.num_classes:
            return (
                f"{part} labels from {lowest} to {highest}, "
                f"{expected_labels(spec, lowest, highest)}"
            )
    return None


def expected_labels(spec: DatasetSpec, lowest: int, highest: int) -> str:
    """Return which labels were expected where some are out of range."""
    from_one = lowest >= 1 and highest == spec.num_classes
    hint = " (they count from 1: subtract 1)" if from_one else ""
    return f"expected 0 to {spec.num_classes - 1}{hint}"


def _source(spec: DatasetSpec) -> str:
    """Return the file that a loader of cnnperf reads, else the import path of the loader."""
    return str(spec.arguments.get("file") or spec.arguments.get("folder") or spec.import_path)


def label_flags(spec: DatasetSpec, labels_N: Labels) -> list[Flag]:
    """Warn if some classes have no training images: accuracy then says little."""
    counts_K = np.bincount(labels_N, minlength=spec.num_classes)
    absent = np.flatnonzero(counts_K == 0)
    if not len(absent):
        return []
    if len(absent) == spec.num_classes - 1:
        message = (
            f"All training labels of data set {spec.name} are {int(counts_K.argmax())}, so there "
            "is nothing to learn. Likely the labels were read wrongly: look at the loader."
        )
        return [Flag(kind="one_class", value=1, message=message)]
    some = ", ".join(map(str, absent[:MAX_NAMED])) + ", ..." * (len(absent) > MAX_NAMED)
    message = (
        f"{len(absent)} of the {spec.num_classes} classes of data set {spec.name} have no training "
        f"images ({some}). Likely num_classes is too high, or the labels count from 1."
    )
    return [Flag(kind="empty_classes", value=len(absent), message=message)]


def described_sha256(described: DatasetSpec, splits: Splits | None) -> str:
    """Return the hash of the data for a fingerprint: without splits, of what describes a pipeline.

    How a user's data set is normalised is part of it; measured values follow from the pixels.
    """
    if splits is None:
        return hashlib.sha256(described.model_dump_json().encode()).hexdigest()
    found = dataset_sha256(splits)
    if described in BUILTIN_DATASETS:
        return found
    normalisation = f"{found} {described.mean or 'measured'} {described.std or 'measured'}"
    return hashlib.sha256(normalisation.encode()).hexdigest()
