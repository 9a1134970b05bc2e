"""Data sets to test with: made by hand, or real.

Real MNIST and CIFAR-10 are used where CNNPERF_TEST_DATA_DIR names a folder that has them. Nothing
here imports torch: the tests of the descriptions run without it.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from cnnperf.catalog.datasets import BUILTIN_DATASETS, CIFAR10, MNIST
from cnnperf.catalog.specs import DatasetSpec
from tests.training.data.handmade import noise, spec_of, write_idx, write_pickle


@pytest.fixture
def tiny_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DatasetSpec:
    """20 + 8 images in MNIST's format in tmp_path, registered with their checksums."""
    raw = tmp_path / "MNIST" / "raw"
    for part, count in (("train", 20), ("t10k", 8)):
        write_idx(raw / f"{part}-images-idx3-ubyte", noise(count, 28, 28, seed=count))
        write_idx(raw / f"{part}-labels-idx1-ubyte", np.arange(count) % 10)
    spec = spec_of(MNIST, tmp_path, train=16, val=4, test=8)
    monkeypatch.setattr("cnnperf.training.data.sources.MNIST", spec)
    return spec


@pytest.fixture
def tiny_cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DatasetSpec:
    """5 x 4 + 6 images in CIFAR-10's format in tmp_path."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    for seed, name in enumerate(names):
        count = 6 if name == "test_batch" else 4
        batch = {"data": noise(count, 3072, seed=seed), "labels": list(range(count))}
        write_pickle(folder / name, batch)
    labels = {"label_names": [str(label) for label in range(10)]}
    write_pickle(folder / "batches.meta", labels)
    spec = spec_of(CIFAR10, tmp_path, train=16, val=4, test=6)
    monkeypatch.setattr("cnnperf.training.data.sources.CIFAR10", spec)
    return spec


@pytest.fixture
def real_data_dir() -> str:
    data_dir = os.environ.get("CNNPERF_TEST_DATA_DIR")
    if data_dir is None:
        pytest.skip("set CNNPERF_TEST_DATA_DIR to a folder with MNIST and CIFAR-10")
    return data_dir


@pytest.fixture(params=BUILTIN_DATASETS, ids=lambda spec: spec.name)
def any_spec(request: pytest.FixtureRequest) -> DatasetSpec:
    """Every data set that comes with cnnperf; those with files only where they are."""
    spec: DatasetSpec = request.param
    if spec.files:
        request.getfixturevalue("real_data_dir")
    return spec
