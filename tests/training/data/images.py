"""The data sets that come with cnnperf, each loaded once for all tests, and a small made-up one.

Shapes: N images, H W pixels, C channels.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cnnperf.catalog.datasets import BUILTIN_DATASETS, MNIST
from cnnperf.catalog.specs import DatasetSpec
from cnnperf.training.data import (
    RawImages,
    Splits,
    load_cifar10,
    load_mnist,
    load_synthetic,
    split_images,
)
from cnnperf.training.data.digits import load_digits
from tests.training.data.handmade import noise

LOADERS: dict[str, Callable[[str | Path], RawImages]] = {
    "mnist": load_mnist,
    "cifar10": load_cifar10,
    "digits": load_digits,
    "synthetic": load_synthetic,
}


@functools.cache
def load_cached(name: str, data_dir: str) -> RawImages:
    return LOADERS[name](data_dir)


@functools.cache
def split_cached(name: str, data_dir: str) -> Splits:
    spec = next(spec for spec in BUILTIN_DATASETS if spec.name == name)
    return split_images(spec, load_cached(name, data_dir))


def splits_of(spec: DatasetSpec) -> Splits:
    return split_cached(spec.name, os.environ.get("CNNPERF_TEST_DATA_DIR", "."))


def raw_of(spec: DatasetSpec) -> RawImages:
    return load_cached(spec.name, os.environ.get("CNNPERF_TEST_DATA_DIR", "."))


def some_images(**changes: Any) -> RawImages:
    """16 + 4 training and 8 test images of MNIST's shape, save for `changes`."""
    arrays = {
        "train_images_NHWC": noise(20, 28, 28, 1, seed=0),
        "train_labels_N": np.arange(20) % 10,
        "test_images_NHWC": noise(8, 28, 28, 1, seed=1),
        "test_labels_N": np.arange(8),
    }
    return RawImages(**{**arrays, **changes})


SOME = MNIST.model_copy(update={"train_images": 16, "val_images": 4, "test_images": 8})
