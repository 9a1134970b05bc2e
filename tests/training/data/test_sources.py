"""Loading, against torchvision, scikit-learn and hand-made files; missing and damaged files.

Shapes: N images, H W pixels, C channels.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

pytest.importorskip("torch", reason="the torch half is tested where torch is installed")

import numpy as np
import sklearn.datasets
import torch
import torchvision

from cnnperf.catalog.datasets import (
    BUILTIN_DATASETS,
    CIFAR10,
    DIGITS,
    MNIST,
    SYNTHETIC,
    check_files,
)
from cnnperf.catalog.specs import DatasetSpec
from cnnperf.errors import NotInstalledError, UsageError
from cnnperf.training.data import load_cifar10, load_mnist, sources
from cnnperf.training.data.digits import load_digits
from tests.training.data.handmade import no_network, noise, write_pickle
from tests.training.data.images import LOADERS, raw_of, some_images, splits_of

# Loading.


def test_every_data_set_names_a_loader_that_exists() -> None:
    """The loader is a string in a torch-free file, so only this notices a typing error."""
    for spec in BUILTIN_DATASETS:
        module, _, function = spec.loader.partition(":")
        assert getattr(importlib.import_module(module), function) is LOADERS[spec.name]


def test_mnist_equals_its_files(tiny_mnist: DatasetSpec, tmp_path: Path) -> None:
    """Pixels and labels come back as they were written, in order."""
    raw = load_mnist(tmp_path)
    assert np.array_equal(raw.train_images_NHWC, noise(20, 28, 28, seed=20)[..., None])
    assert np.array_equal(raw.test_images_NHWC, noise(8, 28, 28, seed=8)[..., None])
    assert raw.train_labels_N.tolist() == [*range(10), *range(10)]
    assert raw.test_labels_N.tolist() == list(range(8))


def test_mnists_images_can_be_changed_and_its_files_do_not(
    tiny_mnist: DatasetSpec, tmp_path: Path
) -> None:
    """The arrays are the files' own pages, which torch wants to be able to write to."""
    content = {file.path: (tmp_path / file.path).read_bytes() for file in tiny_mnist.files}
    raw = load_mnist(tmp_path)
    raw.train_images_NHWC[:] = 7
    raw.test_images_NHWC[:] = 7
    assert content == {path: (tmp_path / path).read_bytes() for path in content}


def test_mnist_ignores_what_old_versions_of_torchvision_left_beside_the_files(
    tiny_mnist: DatasetSpec, tmp_path: Path
) -> None:
    """Torchvision would prefer such leftovers to the checked files."""
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


def test_digits_are_all_of_scikit_learns() -> None:
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


def test_digits_are_read_without_importing_scikit_learn() -> None:
    """The import takes a second of every training."""
    code = (
        "import sys; from cnnperf.training.data.digits import load_digits; load_digits('.'); "
        "print({'sklearn', 'scipy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_digits_without_scikit_learn_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are a file of it."""
    monkeypatch.setattr("cnnperf.training.data.digits.find_spec", lambda _: None)
    with pytest.raises(NotInstalledError, match=r"pip install 'cnnperf\[train\]'"):
        load_digits(".")


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


def test_a_pickle_that_names_code_runs_none_of_it(
    tiny_cifar10: DatasetSpec, tmp_path: Path
) -> None:
    """Also where nobody has checked the file before."""

    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(tmp_path / "made"),)

    write_pickle(tmp_path / tiny_cifar10.files[2].path, {"data": Evil(), "labels": []})
    with pytest.raises(UsageError, match=r"data_batch_3 is damaged .*MD5 is .*, expected "):
        load_cifar10(tmp_path)
    assert not (tmp_path / "made").exists()


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut in half": lambda content: content[: len(content) // 2],
    "one byte short": lambda content: content[:-1],
    "header only": lambda content: content[:3],
    "empty": lambda content: b"",
    "not the format": lambda content: b"<html>404</html>",
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("position", [0, 1, -2])
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


def test_reader_error_with_good_files_is_not_a_data_error(
    tiny_mnist: DatasetSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Downloading again would not help, so the original error is shown."""

    def fail(path: str) -> NoReturn:
        raise TypeError("torchvision has changed")

    monkeypatch.setattr(sources, "_read_idx", fail)
    with pytest.raises(TypeError, match="torchvision has changed"):
        load_mnist(tmp_path)


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
def test_loader_with_wrong_arrays_is_an_error(changes: dict[str, Any], words: str) -> None:
    """Users write loaders too; a wrong type must not surface as a shape error in training."""
    with pytest.raises(UsageError) as error:
        some_images(**changes)
    assert words in str(error.value)
    assert "correct the loader" in str(error.value)
