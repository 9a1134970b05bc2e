"""How images are divided into train, validation and test, and the checksum of the result.

Shapes: N images, H W pixels, C channels.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest

pytest.importorskip("torch", reason="the torch half is tested where torch is installed")

import numpy as np
import sklearn.datasets
import torch

from cnnperf.catalog.datasets import DIGITS
from cnnperf.catalog.specs import DatasetSpec
from cnnperf.errors import UsageError
from cnnperf.training.data import (
    Split,
    Splits,
    dataset_sha256,
    split_images,
    split_rows,
)
from cnnperf.training.data.digits import load_digits
from cnnperf.training.data.splits import label_flags
from tests.training.data.handmade import noise
from tests.training.data.images import SOME, raw_of, some_images, splits_of

SHA256 = {
    "mnist": "73546ab54e2f208d41099e0f13939428e8bb601c0f463e261e2cdd0c94979b91",
    "cifar10": "28cf7dc7332b7810ef701cdb5ae4afcacee31392407135ea637ceaa616e6bb3c",
    "digits": "1132daa8a1f3c78b08b3d4411a21e94084ba2ea1d6b1547d45b9bdfa6e3fc3a8",
    "synthetic": "71a5df6f636846e9b42b445084c310ce7e1f40cec60f7ca7e23b7511ce4c28c4",
}
"""SHA-256 of the splits. If one changes, old records are not comparable with new ones."""


def contents(*splits: Split) -> Counter[tuple[bytes, int]]:
    """Which images with which labels, and how many of each."""
    return Counter(
        (image.tobytes(), int(label))
        for split in splits
        for image, label in zip(split.images_NHWC, split.labels_N, strict=True)
    )


def test_splits_have_the_stated_sizes(any_spec: DatasetSpec) -> None:
    """Train, validation and test images, each with its label."""
    splits = splits_of(any_spec)
    pixels = (any_spec.resolution, any_spec.resolution, any_spec.channels)
    for part in ("train", "val", "test"):
        split, count = getattr(splits, part), getattr(any_spec, f"{part}_images")
        assert len(split) == count
        assert split.images_NHWC.shape == (count, *pixels)
        assert split.labels_N.shape == (count,)


def test_no_image_is_in_two_splits_by_row(any_spec: DatasetSpec) -> None:
    """Train and validation share no row and together use every one."""
    train_rows, val_rows = split_rows(any_spec, raw_of(any_spec))
    rows = np.concatenate([train_rows, val_rows])
    assert sorted(rows.tolist()) == list(range(any_spec.train_images + any_spec.val_images))


def test_no_image_is_in_two_splits_by_content(any_spec: DatasetSpec) -> None:
    """What was published is divided; no image that is published once turns up twice."""
    splits, raw = splits_of(any_spec), raw_of(any_spec)
    published = Split(images_NHWC=raw.train_images_NHWC, labels_N=raw.train_labels_N)
    assert contents(splits.train, splits.val) == contents(published)
    train, val, test = (set(contents(s)) for s in (splits.train, splits.val, splits.test))
    assert not train & test
    assert not val & test
    assert not train & val


def test_test_images_are_the_published_ones_in_their_order(any_spec: DatasetSpec) -> None:
    """They stay as they are, so that predictions can be compared image by image."""
    splits, raw = splits_of(any_spec), raw_of(any_spec)
    assert splits.test.images_NHWC is raw.test_images_NHWC
    assert splits.test.labels_N is raw.test_labels_N


def test_labels_stay_with_their_images(any_spec: DatasetSpec) -> None:
    """Row by row, by going back to the published arrays."""
    splits, raw = splits_of(any_spec), raw_of(any_spec)
    rows = split_rows(any_spec, raw)
    for split, split_row in zip((splits.train, splits.val), rows, strict=True):
        for i in (0, len(split) // 2, len(split) - 1):
            assert np.array_equal(split.images_NHWC[i], raw.train_images_NHWC[split_row[i]])
            assert split.labels_N[i] == raw.train_labels_N[split_row[i]]


def test_splits_never_change(any_spec: DatasetSpec) -> None:
    """Checksums written down once: versions of numpy and torch must not move an image."""
    assert dataset_sha256(splits_of(any_spec)) == SHA256[any_spec.name]


def test_splits_do_not_depend_on_random_state() -> None:
    """A repeat's seed, set before loading, changes nothing."""
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)
        splits = split_images(DIGITS, load_digits("."))
        assert dataset_sha256(splits) == SHA256["digits"]


def test_splits_are_the_same_in_another_process() -> None:
    """Repeats run in processes of their own, each with other hashes of strings."""
    code = (
        "from cnnperf.training.data import *; from cnnperf.catalog.datasets import *\n"
        "from cnnperf.training.data.digits import load_digits\n"
        "print(dataset_sha256(split_images(DIGITS, load_digits('.'))))\n"
        "print(dataset_sha256(split_images(SYNTHETIC, load_synthetic('.'))))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "7"},
    )
    assert result.stdout.split() == [SHA256["digits"], SHA256["synthetic"]]


def test_every_split_of_the_digits_has_its_share_of_every_class() -> None:
    """Validation and test have each class's share of all 1,797 to within one image."""
    total = np.bincount(sklearn.datasets.load_digits().target)
    splits = splits_of(DIGITS)
    for split, tolerance in ((splits.train, 2), (splits.val, 1), (splits.test, 1)):
        share = total * len(split) / total.sum()
        assert abs(np.bincount(split.labels_N) - share).max() <= tolerance


@pytest.mark.parametrize("part", ["train", "val", "test"])
@pytest.mark.parametrize("what", ["pixel", "label", "order"])
def test_any_change_of_a_data_set_changes_its_checksum(part: str, what: str) -> None:
    """One pixel, one label or two images swapped, in any of the three splits."""
    splits = split_images(SOME, some_images())
    before = dataset_sha256(splits)
    split: Split = getattr(splits, part)
    if what == "pixel":
        split.images_NHWC[-1, -1, -1, -1] ^= 1
    elif what == "label":
        split.labels_N[-1] = (split.labels_N[-1] + 1) % 10
    else:
        split.images_NHWC[:2] = split.images_NHWC[1::-1].copy()
    assert dataset_sha256(splits) != before


def test_checksum_does_not_depend_on_memory_layout() -> None:
    """A transposed view of the same pixels is the same data set."""
    splits = split_images(SOME, some_images())
    train = Split(
        images_NHWC=np.asfortranarray(splits.train.images_NHWC),
        labels_N=np.repeat(splits.train.labels_N, 2)[::2],
    )
    again = Splits(train=train, val=splits.val, test=splits.test)
    assert dataset_sha256(again) == dataset_sha256(splits)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {
                "train_images_NHWC": noise(19, 28, 28, 1, seed=0),
                "train_labels_N": np.zeros(19, int),
            },
            "gave 19 training and 8 test images, expected 20 (16 train + 4 validation) and 8",
        ),
        (
            {"test_images_NHWC": noise(8, 28, 27, 1, seed=0)},
            "gave test images of shape (28, 27, 1), expected (28, 28, 1)",
        ),
        ({"train_labels_N": np.arange(20)}, "gave train labels from 0 to 19, expected 0 to 9"),
        ({"train_labels_N": np.arange(20) % 10 + 1}, "0 to 9 (they count from 1: subtract 1)"),
        ({"test_labels_N": np.arange(8) - 1}, "gave test labels from -1 to 6, expected 0 to 9"),
        ({"val_rows_N": np.array([1, 2, 3])}, "3 validation rows leave 17 training images"),
        ({"val_rows_N": np.array([1, 2, 3, 3])}, "4 validation rows leave 17 training images"),
        ({"val_rows_N": np.array([1, 2, 3, -1])}, "4 validation rows leave 17 training images"),
    ],
)
def test_images_that_do_not_fit_the_specification_are_refused(
    changes: dict[str, Any], words: str
) -> None:
    """The message says what came, from which loader, and what was expected."""
    with pytest.raises(UsageError) as error:
        split_images(SOME, some_images(**changes))
    assert words in str(error.value)
    assert "data set mnist: " in str(error.value)
    assert "cnnperf.training.data.sources:load_mnist" in str(error.value)


def test_a_data_sets_own_validation_rows_are_used() -> None:
    """Some data sets are published with a validation split."""
    raw = some_images(val_rows_N=np.array([3, 5, 7, 11]))
    splits = split_images(SOME, raw)
    assert np.array_equal(splits.val.images_NHWC, raw.train_images_NHWC[[3, 5, 7, 11]])


@pytest.mark.parametrize(
    ("labels", "kind", "words"),
    [
        ([0, 1, 2, 3, 4, 5, 6, 7, 8, 9], None, ""),
        ([4] * 9, "one_class", "All training labels of data set digits are 4"),
        (
            [1, 2, 3, 4, 5, 6, 7, 8, 9], "empty_classes",
            "1 of the 10 classes of data set digits have no training images (0). Likely",
        ),
        ([7, 8, 9], "empty_classes", "7 of the 10 classes of data set digits have no training "
         "images (0, 1, 2, 3, 4, ...)"),
    ],
)  # fmt: skip
def test_classes_without_training_images_are_flagged(
    labels: list[int], kind: str | None, words: str
) -> None:
    """A training on them ends well and means little: a warning, no error."""
    flags = label_flags(DIGITS, np.array(labels))
    assert [flag.kind for flag in flags] == ([] if kind is None else [kind])
    assert all(words in flag.message for flag in flags)
