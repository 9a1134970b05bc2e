"""Data for the worker, against torchvision's own data sets, scikit-learn, and hand-made files.

Real MNIST and CIFAR-10 are used where CNNPERF_TEST_DATA_DIR names a folder that has them.
"""

# Shapes: N images, H W pixels, C channels, B batch.

from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import importlib
import os
import pickle
import struct
import subprocess
import sys
import tarfile
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

pytest.importorskip("torch", reason="the torch half is tested where torch is installed")

import numpy as np
import sklearn.datasets
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision import transforms as tv

from cnnperf.data import (
    ImageDataset,
    RawImages,
    Split,
    Splits,
    build_loader,
    build_transform,
    choose_workers,
    dataset_sha256,
    load_cifar10,
    load_digits,
    load_mnist,
    load_synthetic,
    sources,
    split_images,
    split_rows,
)
from cnnperf.data import fetch as fetch_module
from cnnperf.data.draws import permutation, random_bytes, stratified_rows
from cnnperf.data.fetch import fetch
from cnnperf.datasets import (
    BUILTIN_DATASETS,
    CIFAR10,
    DIGITS,
    MNIST,
    SYNTHETIC,
    check_files,
)
from cnnperf.errors import UsageError
from cnnperf.specs import DataFile, DatasetSpec

SHA256 = {
    "mnist": "73546ab54e2f208d41099e0f13939428e8bb601c0f463e261e2cdd0c94979b91",
    "cifar10": "28cf7dc7332b7810ef701cdb5ae4afcacee31392407135ea637ceaa616e6bb3c",
    "digits": "1132daa8a1f3c78b08b3d4411a21e94084ba2ea1d6b1547d45b9bdfa6e3fc3a8",
    "synthetic": "71a5df6f636846e9b42b445084c310ce7e1f40cec60f7ca7e23b7511ce4c28c4",
}
"""Of the splits. If one changes, records made before cannot be compared with new ones."""

LOADERS: dict[str, Callable[[str | Path], RawImages]] = {
    "mnist": load_mnist,
    "cifar10": load_cifar10,
    "digits": load_digits,
    "synthetic": load_synthetic,
}


# Data to test with: made by hand, or real.


def md5_of(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def spec_of(spec: DatasetSpec, data_dir: Path, train: int, val: int, test: int) -> DatasetSpec:
    """The specification with the checksums and counts of the small files in `data_dir`."""
    files = tuple(DataFile(path=file.path, md5=md5_of(data_dir / file.path)) for file in spec.files)
    counts = {"train_images": train, "val_images": val, "test_images": test}
    return spec.model_copy(update={"files": files, **counts})


def write_idx(path: Path, array: np.ndarray) -> None:
    """The format of MNIST's files: magic number, sizes, bytes (see LeCun's page)."""
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


def noise(*shape: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture
def tiny_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DatasetSpec:
    """20 + 8 images in MNIST's format in tmp_path, and cnnperf told of their checksums."""
    raw = tmp_path / "MNIST" / "raw"
    for part, count in (("train", 20), ("t10k", 8)):
        write_idx(raw / f"{part}-images-idx3-ubyte", noise(count, 28, 28, seed=count))
        write_idx(raw / f"{part}-labels-idx1-ubyte", np.arange(count) % 10)
    spec = spec_of(MNIST, tmp_path, train=16, val=4, test=8)
    monkeypatch.setattr(sources, "MNIST", spec)
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
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    labels = {"label_names": [str(label) for label in range(10)]}
    (folder / "batches.meta").write_bytes(pickle.dumps(labels, protocol=2))
    spec = spec_of(CIFAR10, tmp_path, train=16, val=4, test=6)
    monkeypatch.setattr(sources, "CIFAR10", spec)
    return spec


@functools.cache
def load_cached(name: str, data_dir: str) -> RawImages:
    return LOADERS[name](data_dir)


@functools.cache
def split_cached(name: str, data_dir: str) -> Splits:
    spec = next(spec for spec in BUILTIN_DATASETS if spec.name == name)
    return split_images(spec, load_cached(name, data_dir))


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


def splits_of(spec: DatasetSpec) -> Splits:
    return split_cached(spec.name, os.environ.get("CNNPERF_TEST_DATA_DIR", "."))


def raw_of(spec: DatasetSpec) -> RawImages:
    return load_cached(spec.name, os.environ.get("CNNPERF_TEST_DATA_DIR", "."))


def contents(*splits: Split) -> Counter[tuple[bytes, int]]:
    """Which images with which labels, and how many of each."""
    return Counter(
        (image.tobytes(), int(label))
        for split in splits
        for image, label in zip(split.images_NHWC, split.labels_N, strict=True)
    )


# Loading.


def test_every_data_set_names_a_loader_that_exists() -> None:
    """The loader is a string in a torch-free file, so only this notices a typing error."""
    for spec in BUILTIN_DATASETS:
        module, _, function = spec.loader.partition(":")
        assert getattr(importlib.import_module(module), function) is LOADERS[spec.name]


def test_mnist_is_read_as_it_lies_on_disk(tiny_mnist: DatasetSpec, tmp_path: Path) -> None:
    """Pixels and labels come back as they were written, in order."""
    raw = load_mnist(tmp_path)
    assert np.array_equal(raw.train_images_NHWC, noise(20, 28, 28, seed=20)[..., None])
    assert np.array_equal(raw.test_images_NHWC, noise(8, 28, 28, seed=8)[..., None])
    assert raw.train_labels_N.tolist() == [*range(10), *range(10)]
    assert raw.test_labels_N.tolist() == list(range(8))


def test_mnist_ignores_what_old_versions_of_torchvision_left_beside_the_files(
    tiny_mnist: DatasetSpec, tmp_path: Path
) -> None:
    """To torchvision such leftovers come before the files, which are what was checked."""
    processed = tmp_path / "MNIST" / "processed"
    processed.mkdir()
    for name in ("training.pt", "test.pt"):
        torch.save((torch.zeros(20, 28, 28, dtype=torch.uint8), torch.zeros(20)), processed / name)
    assert load_mnist(tmp_path).train_images_NHWC.any()


def test_cifar10_is_read_channels_last_from_all_five_batches(
    tiny_cifar10: DatasetSpec, tmp_path: Path
) -> None:
    """A batch holds each image as all of its red, then green, then blue pixels."""
    raw = load_cifar10(tmp_path)
    planes = np.concatenate([noise(4, 3072, seed=seed) for seed in range(5)])
    for channel in range(3):
        expected = planes[:, channel * 1024 : (channel + 1) * 1024].reshape(20, 32, 32)
        assert np.array_equal(raw.train_images_NHWC[..., channel], expected)
    assert raw.train_labels_N.tolist() == [0, 1, 2, 3] * 5
    assert raw.test_images_NHWC.shape == (6, 32, 32, 3)
    assert raw.train_images_NHWC.flags.c_contiguous


def test_digits_are_scikit_learns_and_nothing_of_them_is_lost() -> None:
    """Each of the 1,797 is there once; scaling to 0..255 can be undone exactly."""
    reference = sklearn.datasets.load_digits()
    splits = splits_of(DIGITS)
    ours = Counter(
        (tuple(np.rint(image.ravel() / 255 * 16).astype(int)), int(label))
        for split in (splits.train, splits.val, splits.test)
        for image, label in zip(split.images_NHWC, split.labels_N, strict=True)
    )
    assert ours == Counter(
        (tuple(image.ravel().astype(int)), int(label))
        for image, label in zip(reference.images, reference.target, strict=True)
    )
    assert (splits.train.images_NHWC.min(), splits.train.images_NHWC.max()) == (0, 255)


def test_synthetic_images_are_uniform_noise() -> None:
    """Every pixel value and every label occurs about as often as any other."""
    raw = raw_of(SYNTHETIC)
    counts = np.bincount(raw.train_images_NHWC.ravel(), minlength=256)
    assert len(counts) == 256
    assert abs(counts / counts.mean() - 1).max() < 0.05
    labels = np.bincount(raw.train_labels_N, minlength=10)
    assert len(labels) == 10
    assert abs(labels / labels.mean() - 1).max() < 0.2


def test_the_stated_mean_and_deviation_are_those_of_the_training_images(
    any_spec: DatasetSpec,
) -> None:
    """Over all pixels of train and validation, to the four digits that are written down."""
    images_NHWC = raw_of(any_spec).train_images_NHWC
    values = np.arange(256) / 255
    # Noise has the moments of its distribution only up to its own spread, about 2e-4.
    tolerance = 2e-4 if any_spec is SYNTHETIC else 0.6e-4
    for channel, (mean, std) in enumerate(zip(any_spec.mean, any_spec.std, strict=True)):
        share = np.bincount(images_NHWC[..., channel].ravel(), minlength=256).astype(float)
        share /= share.sum()
        found = (share * values).sum()
        assert found == pytest.approx(mean, abs=tolerance)
        assert np.sqrt((share * (values - found) ** 2).sum()) == pytest.approx(std, abs=tolerance)


def test_cifar10_checksums_are_those_that_torchvision_publishes() -> None:
    """Two lists of the same MD5s, kept by different people."""
    theirs = torchvision.datasets.CIFAR10
    published = dict([*theirs.train_list, *theirs.test_list])
    published[theirs.meta["filename"]] = theirs.meta["md5"]
    assert {Path(file.path).name: file.md5 for file in CIFAR10.files} == published


@pytest.mark.parametrize("spec", [MNIST, CIFAR10], ids=lambda spec: spec.name)
def test_real_files_have_the_stated_checksums(spec: DatasetSpec, real_data_dir: str) -> None:
    """The MD5s in the specification are of the files that people really have."""
    assert check_files(spec, Path(real_data_dir), checksum=True) is None


# Missing and damaged files.


@pytest.mark.parametrize("spec", [MNIST, CIFAR10], ids=lambda spec: spec.name)
def test_loading_without_files_gives_the_sentence_of_the_check(
    spec: DatasetSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loader says what is missing and how to get it, and never tries to download it."""
    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    problem = check_files(spec, tmp_path, checksum=False)
    assert problem is not None
    with pytest.raises(UsageError) as error:
        LOADERS[spec.name](tmp_path)
    assert str(error.value) == problem.message


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut in half": lambda content: content[: len(content) // 2],
    "one byte short": lambda content: content[:-1],
    "header only": lambda content: content[:3],
    "empty": lambda content: b"",
    "not the format": lambda content: b"<html>404</html>",
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("position", [0, 1, -1])
@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_a_damaged_file_is_named_by_the_loader(
    name: str,
    position: int,
    damage: Callable[[bytes], bytes],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    """Whatever the reader stumbles over, the user reads which file to replace and how."""
    spec: DatasetSpec = request.getfixturevalue(f"tiny_{name}")
    path = tmp_path / spec.files[position].path
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UsageError) as error:
        LOADERS[name](tmp_path)
    problem = check_files(spec, tmp_path, checksum=True)
    assert problem is not None
    assert str(error.value) == problem.message
    assert f"{path.name} is damaged at {path}" in str(error.value)
    assert f"`cnnperf data {name} --data-dir {tmp_path}`" in str(error.value)


def test_a_reader_that_fails_on_good_files_is_not_blamed_on_them(
    tiny_mnist: DatasetSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Downloading again would not help, so the original error is shown."""

    def fail(path: str) -> NoReturn:
        raise TypeError("torchvision has changed")

    monkeypatch.setattr(sources, "read_image_file", fail)
    with pytest.raises(TypeError, match="torchvision has changed"):
        load_mnist(tmp_path)


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


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train_images_NHWC": noise(20, 28, 28, seed=0)}, "uint8 of shape (20, 28, 28)"),
        ({"test_images_NHWC": np.zeros((8, 28, 28, 1))}, "test_images_NHWC is float64"),
        ({"train_labels_N": [0] * 20}, "train_labels_N is list, expected a numpy array of int64"),
        ({"train_labels_N": np.arange(19)}, "20 train images but 19 labels"),
        ({"val_rows_N": np.arange(4.0)}, "val_rows_N is float64"),
    ],
)
def test_a_loader_that_returns_other_arrays_is_told_so(changes: dict[str, Any], words: str) -> None:
    """Users write loaders too; a wrong type must not surface as a shape error in training."""
    with pytest.raises(UsageError) as error:
        some_images(**changes)
    assert words in str(error.value)
    assert "mend the loader" in str(error.value)


# Splits.


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


def test_splits_depend_on_no_random_state() -> None:
    """A repeat's seed, set before loading, changes nothing."""
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)
        splits = split_images(DIGITS, load_digits("."))
        assert dataset_sha256(splits) == SHA256["digits"]


def test_splits_are_the_same_in_another_process() -> None:
    """Repeats run in processes of their own, each with other hashes of strings."""
    code = (
        "from cnnperf.data import *; from cnnperf.datasets import *\n"
        "print(dataset_sha256(split_images(DIGITS, load_digits('.'))))\n"
        "print(dataset_sha256(split_images(SYNTHETIC, load_synthetic('.'))))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env={**os.environ, "PYTHONHASHSEED": "7"},
    )
    assert result.stdout.split() == [SHA256["digits"], SHA256["synthetic"]]


def test_every_split_of_the_digits_has_its_share_of_every_class() -> None:
    """To within one image of the class's share of all 1,797, in validation and test."""
    total = np.bincount(sklearn.datasets.load_digits().target)
    splits = splits_of(DIGITS)
    for split, tolerance in ((splits.train, 2), (splits.val, 1), (splits.test, 1)):
        share = total * len(split) / total.sum()
        assert abs(np.bincount(split.labels_N) - share).max() <= tolerance


@pytest.mark.parametrize("part", ["train", "val", "test"])
@pytest.mark.parametrize("what", ["pixel", "label", "order"])
def test_the_checksum_of_a_data_set_notices_any_change(part: str, what: str) -> None:
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


def test_the_checksum_of_a_data_set_does_not_depend_on_how_arrays_lie_in_memory() -> None:
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
    assert "cnnperf.data.sources:load_mnist" in str(error.value)


def test_a_data_sets_own_validation_rows_are_used() -> None:
    """Some data sets are published with a validation split."""
    raw = some_images(val_rows_N=np.array([3, 5, 7, 11]))
    splits = split_images(SOME, raw)
    assert np.array_equal(splits.val.images_NHWC, raw.train_images_NHWC[[3, 5, 7, 11]])


# Draws.


def test_the_first_draws_are_those_written_down() -> None:
    """The raw output of numpy's PCG64 is promised never to change; this would notice."""
    assert permutation(10, seed=0).tolist() == [3, 2, 1, 8, 6, 0, 7, 4, 5, 9]
    assert len(random_bytes(13, seed=0)) == 13
    assert np.array_equal(random_bytes(16, seed=0)[:13], random_bytes(13, seed=0))


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60), st.data())
@settings(max_examples=60, deadline=None)
def test_stratified_rows_are_exact_in_total_and_within_one_in_every_class(
    labels: list[int], data: st.DataObject
) -> None:
    """For any labels and any number of rows to draw."""
    labels_N = np.array(labels, dtype=np.int64)
    count = data.draw(st.integers(0, len(labels)))
    rows = stratified_rows(labels_N, count, seed=data.draw(st.integers(0, 99)))
    assert len(set(rows.tolist())) == len(rows) == count
    for label in set(labels):
        share = labels.count(label) * count / len(labels)
        assert abs((labels_N[rows] == label).sum() - share) < 1


# Transforms.


def pil_images(spec: DatasetSpec, count: int = 3) -> list[Image.Image]:
    size = (spec.resolution, spec.resolution)
    shape = (count, *size) if spec.channels == 1 else (count, *size, spec.channels)
    return [Image.fromarray(image) for image in noise(*shape, seed=4)]


PROTOCOL: list[tuple[DatasetSpec, int, int, Callable[[Image.Image], torch.Tensor]]] = [
    (MNIST, 28, 1, tv.Compose([tv.ToTensor(), tv.Normalize((0.1307,), (0.3081,))])),
    (
        MNIST,
        224,
        3,
        tv.Compose(
            [
                tv.Grayscale(num_output_channels=3),
                tv.Resize((224, 224)),
                tv.ToTensor(),
                tv.Normalize((0.1307, 0.1307, 0.1307), (0.3081, 0.3081, 0.3081)),
            ]
        ),
    ),
    (
        CIFAR10,
        28,
        3,
        tv.Compose(
            [
                tv.Resize((28, 28)),
                tv.ToTensor(),
                tv.Normalize((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
            ]
        ),
    ),
]
"""The report's inputs, as a tutorial would write them: channels repeated before resizing."""
PROTOCOL_IDS = ["mnist-28", "mnist-224", "cifar10-28"]


@pytest.mark.parametrize(("spec", "resolution", "channels", "by_hand"), PROTOCOL, ids=PROTOCOL_IDS)
def test_transforms_give_the_bits_of_the_protocol_written_by_hand(
    spec: DatasetSpec,
    resolution: int,
    channels: int,
    by_hand: Callable[[Image.Image], torch.Tensor],
) -> None:
    """Resizing before or after repeating the grey channel makes no difference, to the bit."""
    transform = build_transform(spec, resolution=resolution, channels=channels)
    for image in pil_images(spec):
        ours = transform(image)
        assert ours.shape == (channels, resolution, resolution)
        assert ours.dtype == torch.float32
        assert torch.equal(ours, by_hand(image))


def test_normalising_is_subtracting_the_mean_and_dividing_by_the_deviation() -> None:
    """Worked out in numpy, without torchvision."""
    image = pil_images(CIFAR10, 1)[0]
    ours = build_transform(CIFAR10, resolution=32, channels=3)(image)
    expected_HWC = (np.asarray(image) / 255 - CIFAR10.mean) / CIFAR10.std
    assert np.allclose(ours.numpy(), expected_HWC.transpose(2, 0, 1), atol=1e-6)


def test_nothing_is_resized_at_the_data_sets_own_resolution() -> None:
    """The pixels come through exactly, whatever the resampling would do."""
    image = pil_images(DIGITS, 1)[0]
    ours = build_transform(DIGITS, resolution=8, channels=1)(image)
    pixels = torch.round((ours * DIGITS.std[0] + DIGITS.mean[0]) * 255)
    assert np.array_equal(pixels[0].numpy(), np.asarray(image))


@pytest.mark.parametrize(("spec", "channels"), [(CIFAR10, 1), (MNIST, 4)])
def test_channels_that_cannot_be_had_are_refused(spec: DatasetSpec, channels: int) -> None:
    """Colour is not thrown away silently."""
    with pytest.raises(UsageError) as error:
        build_transform(spec, resolution=28, channels=channels)
    assert f"data set {spec.name} has {spec.channels} channels" in str(error.value)
    assert f"cannot be fed as {channels}" in str(error.value)


# Loaders.


def test_tiny_mnist_items_equal_torchvisions_data_set(
    tiny_mnist: DatasetSpec, tmp_path: Path
) -> None:
    """Same files, same transform: the same tensors and labels, to the bit."""
    check_against_torchvision(
        torchvision.datasets.MNIST, load_mnist(tmp_path), tmp_path, PROTOCOL[1], rows=range(8)
    )


@pytest.mark.parametrize("protocol", PROTOCOL, ids=PROTOCOL_IDS)
def test_real_items_equal_torchvisions_data_set(
    protocol: tuple[Any, ...], real_data_dir: str
) -> None:
    """Every 97th test image of the real data sets."""
    theirs = {"mnist": torchvision.datasets.MNIST, "cifar10": torchvision.datasets.CIFAR10}
    spec: DatasetSpec = protocol[0]
    check_against_torchvision(
        theirs[spec.name], raw_of(spec), Path(real_data_dir), protocol, rows=range(0, 10_000, 97)
    )


def check_against_torchvision(
    theirs: Any, raw: RawImages, data_dir: Path, protocol: tuple[Any, ...], rows: range
) -> None:
    spec, resolution, channels, by_hand = protocol
    reference = theirs(data_dir, train=False, transform=by_hand)
    test = Split(images_NHWC=raw.test_images_NHWC, labels_N=raw.test_labels_N)
    transform = build_transform(spec, resolution=resolution, channels=channels)
    ours = ImageDataset(test, transform)
    assert len(ours) == len(reference)
    for row in rows:
        (image, label), (reference_image, reference_label) = ours[row], reference[row]
        assert torch.equal(image, reference_image)
        assert label == reference_label


def loader_of(*, seed: int = 0, shuffle: bool = True, workers: int = 0, **changes: Any) -> Any:
    """20 images labelled 0..19, so that labels tell the order."""
    split = Split(images_NHWC=noise(20, 28, 28, 1, seed=0), labels_N=np.arange(20))
    arguments = {"batch_size": 8, "device_type": "cpu", **changes}
    return build_loader(
        split,
        build_transform(MNIST, resolution=28, channels=1),
        shuffle=shuffle,
        seed=seed,
        workers=workers,
        **arguments,
    )


def epochs_of(loader: Any, count: int = 3) -> list[list[int]]:
    """The order of the images in each epoch."""
    return [[int(i) for _, labels_B in loader for i in labels_B] for _ in range(count)]


def test_batches_are_float_images_and_int64_labels_and_the_last_is_smaller() -> None:
    """Nothing is dropped: an epoch is every image once."""
    batches = list(loader_of(shuffle=False))
    assert [tuple(images.shape) for images, _ in batches] == [
        (8, 1, 28, 28),
        (8, 1, 28, 28),
        (4, 1, 28, 28),
    ]
    assert {(images.dtype, labels.dtype) for images, labels in batches} == {
        (torch.float32, torch.int64)
    }


def test_an_unshuffled_loader_keeps_the_order() -> None:
    """Validation and test images come as they lie."""
    assert epochs_of(loader_of(shuffle=False), count=2) == [list(range(20))] * 2


def test_every_epoch_is_every_image_once_in_an_order_of_its_own() -> None:
    """A shuffled epoch is a permutation, and no two are alike."""
    epochs = epochs_of(loader_of())
    assert all(sorted(epoch) == list(range(20)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in [*epochs, list(range(20))]}) == 4


def test_the_order_depends_on_the_seed_only() -> None:
    """Not on torch's global state, nor on how many workers prepare the batches."""
    torch.manual_seed(1)
    expected = epochs_of(loader_of(seed=5))
    torch.manual_seed(2)
    assert epochs_of(loader_of(seed=5)) == expected
    assert epochs_of(loader_of(seed=5, workers=2)) == expected
    assert epochs_of(loader_of(seed=6)) != expected


def test_workers_give_the_same_batches() -> None:
    """Preparing images in other processes changes no bit."""
    for (ours, _), (theirs, _) in zip(loader_of(workers=1), loader_of(), strict=True):
        assert torch.equal(ours, theirs)


def test_memory_is_pinned_for_cuda_only_and_workers_outlive_an_epoch() -> None:
    """Pinning warns, or fails, where there is no CUDA; workers cost seconds to start."""
    assert loader_of(device_type="cuda").pin_memory
    assert not loader_of(device_type="cpu").pin_memory
    assert not loader_of(device_type="mps").pin_memory
    assert loader_of(workers=1).persistent_workers
    assert not loader_of(workers=0).persistent_workers


@pytest.mark.parametrize(
    ("device_type", "cores", "workers"),
    [
        ("cpu", 1, 0),
        ("cpu", 2, 0),
        ("cpu", 4, 1),
        ("cpu", 15, 3),
        ("cpu", 64, 4),
        ("cuda", 1, 1),
        ("cuda", 2, 1),
        ("cuda", 6, 5),
        ("cuda", 64, 8),
        ("mps", 8, 7),
        ("xpu", 9, 8),
    ],
)
def test_workers_leave_the_cores_to_what_trains(device_type: str, cores: int, workers: int) -> None:
    """On a CPU they would compete with training; beside an accelerator cores are idle."""
    assert choose_workers(device_type, cores) == workers


def test_workers_are_chosen_from_the_cores_that_this_process_may_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A container on a large machine may have few of its cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5, 7}, raising=False)
    assert choose_workers("cuda") == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert choose_workers("cuda") == 5


# Fetching.


def no_network(*args: object, **kwargs: object) -> NoReturn:
    raise urllib.error.URLError("no network in tests")


def files_below(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Path]:
    """A folder; what is in it can be fetched from `served.url`."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        (folder / "url").write_text(f"http://127.0.0.1:{server.server_port}/")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield folder
        server.shutdown()
        thread.join()


@pytest.fixture
def mnist_mirror(
    tiny_mnist: DatasetSpec, tmp_path: Path, served: Path, monkeypatch: pytest.MonkeyPatch
) -> DatasetSpec:
    """The tiny MNIST, moved from its place to a mirror that torchvision downloads from."""
    resources = []
    for file in tiny_mnist.files:
        source = tmp_path / file.path
        archive = served / f"{source.name}.gz"
        archive.write_bytes(gzip.compress(source.read_bytes()))
        resources.append((archive.name, md5_of(archive)))
        source.unlink()
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [(served / "url").read_text()])
    monkeypatch.setattr(torchvision.datasets.MNIST, "resources", resources)
    monkeypatch.setattr(fetch_module, "get_dataset", lambda name: tiny_mnist)
    return tiny_mnist


def test_fetching_puts_every_file_in_its_place_and_says_so(
    mnist_mirror: DatasetSpec, tmp_path: Path
) -> None:
    """Only the files of the data set are left: no archives, no temporary folder."""
    data_dir = tmp_path / "new" / "data"
    messages: list[str] = []
    fetch("mnist", data_dir, on_message=messages.append)
    assert set(files_below(data_dir)) == {file.path for file in mnist_mirror.files}
    assert not list(data_dir.glob(".fetch-*"))
    assert check_files(mnist_mirror, data_dir, checksum=True) is None
    assert len(load_mnist(data_dir).train_labels_N) == 20
    assert "downloading from https://" in messages[0]
    assert messages[-1] == f"data set mnist: 4 files in {data_dir}, checksums as published"


def test_fetching_replaces_a_damaged_file(mnist_mirror: DatasetSpec, tmp_path: Path) -> None:
    """By itself, torchvision takes any file with the right name for the data set."""
    for file in mnist_mirror.files:
        (tmp_path / file.path).write_bytes(b"damaged")
    fetch("mnist", tmp_path, on_message=lambda message: None)
    assert check_files(mnist_mirror, tmp_path, checksum=True) is None


def test_fetching_cifar10_unpacks_its_archive(
    tiny_cifar10: DatasetSpec, tmp_path: Path, served: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The archive itself is not kept: it is as large as the data."""
    archive = served / "cifar.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "cifar-10-batches-py", "cifar-10-batches-py")
    md5 = {Path(file.path).name: file.md5 for file in tiny_cifar10.files}
    theirs = torchvision.datasets.CIFAR10
    for name, value in {
        "url": (served / "url").read_text() + archive.name,
        "tgz_md5": md5_of(archive),
        "train_list": [[name, md5[name]] for name, _ in theirs.train_list],
        "test_list": [[name, md5[name]] for name, _ in theirs.test_list],
        "meta": {**theirs.meta, "md5": md5["batches.meta"]},
    }.items():
        monkeypatch.setattr(theirs, name, value)
    monkeypatch.setattr(fetch_module, "get_dataset", lambda name: tiny_cifar10)
    fetch("cifar10", tmp_path / "new", on_message=lambda message: None)
    assert set(files_below(tmp_path / "new")) == {file.path for file in tiny_cifar10.files}


def test_what_is_there_is_not_downloaded_again(
    tiny_mnist: DatasetSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine without a network can check its data."""
    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    monkeypatch.setattr(fetch_module, "get_dataset", lambda name: tiny_mnist)
    messages: list[str] = []
    fetch("mnist", tmp_path, on_message=messages.append)
    assert messages == [f"data set mnist: 4 files in {tmp_path}, checksums as published"]


@pytest.mark.parametrize(
    ("spec", "host"),
    [(MNIST, "https://ossci-datasets.s3.amazonaws.com"), (CIFAR10, "https://www.cs.toronto.edu")],
    ids=["mnist", "cifar10"],
)
def test_without_a_network_the_message_says_what_to_copy_where(
    spec: DatasetSpec, host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sentence: what, where from, where to, why not, and what to do instead."""
    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    with pytest.raises(UsageError) as error:
        fetch(spec.name, tmp_path, on_message=lambda message: None)
    message = str(error.value)
    assert f"data set {spec.name} could not be downloaded from {host}" in message
    assert f"to {(tmp_path / spec.files[0].path).parent} (" in message
    assert "no network in tests" in message
    assert f"copy these files into {tmp_path} by hand: " in message
    assert all(file.path in message for file in spec.files)
    assert "\n" not in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("broken", ["archive", "content"])
def test_a_broken_download_leaves_nothing_behind(
    mnist_mirror: DatasetSpec,
    tmp_path: Path,
    served: Path,
    monkeypatch: pytest.MonkeyPatch,
    broken: str,
) -> None:
    """Neither an archive cut short nor an archive of something else gets into the data."""
    archive = served / "t10k-labels-idx1-ubyte.gz"
    if broken == "archive":
        archive.write_bytes(archive.read_bytes()[:-7])
    else:
        other = struct.pack(">HBBI", 0, 8, 1, 8) + bytes(8)
        archive.write_bytes(gzip.compress(other))
        resources = [(path.name, md5_of(path)) for path in sorted(served.glob("*.gz"))]
        monkeypatch.setattr(torchvision.datasets.MNIST, "resources", resources)
    with pytest.raises(UsageError, match="could not be downloaded"):
        fetch("mnist", tmp_path / "new", on_message=lambda message: None)
    assert list((tmp_path / "new").iterdir()) == []


def test_a_data_directory_that_cannot_be_made_is_a_sentence_too(tmp_path: Path) -> None:
    """Here a file lies where the folder should be."""
    (tmp_path / "data").write_text("")
    with pytest.raises(UsageError, match=r"could not be downloaded from .*File exists"):
        fetch("mnist", tmp_path / "data", on_message=lambda message: None)


@pytest.mark.parametrize("spec", [DIGITS, SYNTHETIC], ids=lambda spec: spec.name)
def test_data_sets_without_files_have_nothing_to_fetch(spec: DatasetSpec, tmp_path: Path) -> None:
    """They say where they come from, and touch no disk."""
    messages: list[str] = []
    fetch(spec.name, tmp_path / "data", on_message=messages.append)
    assert messages == [f"data set {spec.name}: nothing to fetch ({spec.source})"]
    assert not (tmp_path / "data").exists()


def test_a_users_data_set_is_theirs_to_bring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message says that cnnperf cannot download it, and which file is expected where."""
    files = (DataFile(path="shapes/all.npz", md5="0" * 32),)
    spec = MNIST.model_copy(update={"name": "shapes", "files": files, "source": "our own camera"})
    monkeypatch.setattr(fetch_module, "get_dataset", lambda name: spec)
    with pytest.raises(UsageError) as error:
        fetch("shapes", tmp_path, on_message=lambda message: None)
    assert str(error.value) == (
        f"data set shapes: all.npz is missing at {tmp_path / 'shapes/all.npz'} and cnnperf does "
        f"not know where to download it; copy these files into {tmp_path} by hand: "
        "shapes/all.npz (our own camera)"
    )


def test_an_unknown_data_set_cannot_be_fetched(tmp_path: Path) -> None:
    """The message lists those that can."""
    with pytest.raises(UsageError, match=r"no data set 'mnits' .*'mnist'"):
        fetch("mnits", tmp_path, on_message=lambda message: None)
