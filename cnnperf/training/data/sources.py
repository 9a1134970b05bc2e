"""Read data sets into memory as published: pixels and labels, without any transform.

The network is never used, so a run works offline, and learns from the same bytes as other PyTorch
scripts. Loading is on the clock, so checksums are verified before the
run, by `cnnperf.catalog.datasets.check_files`.

    python -c "from cnnperf.training.data import load_synthetic; print(load_synthetic('.'))"

Shapes: N images, H W pixels, C channels.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from cnnperf.catalog.datasets import CIFAR10, MNIST, SYNTHETIC, check_files
from cnnperf.catalog.specs import DatasetSpec
from cnnperf.errors import DataError
from cnnperf.record.files import read_file
from cnnperf.training.data.draws import Rows, random_bytes, raw_draws

Images: TypeAlias = npt.NDArray[np.uint8] | npt.NDArray[np.float32]
"""uint8, or float32 without a fixed range."""
Labels: TypeAlias = npt.NDArray[np.int64]

SYNTHETIC_SEED = 0


@dataclass(frozen=True, kw_only=True)
class RawImages:
    """A data set as published, the result of a loader.

    Raises:
        DataError: an array has a wrong type or shape.
    """

    train_images_NHWC: Images
    """All images to learn from, including validation images."""
    train_labels_N: Labels
    test_images_NHWC: Images
    test_labels_N: Labels
    val_rows_N: Rows | None = None
    """Rows of the training images for validation, if the data set has its own split; otherwise
    `split_images` draws them."""

    def __post_init__(self) -> None:
        for field in fields(self):
            array = getattr(self, field.name)
            if array is not None:
                _check_array(field.name, array)
        for part in ("train", "test"):
            images = len(getattr(self, f"{part}_images_NHWC"))
            labels = len(getattr(self, f"{part}_labels_N"))
            if images != labels:
                raise DataError(
                    f"RawImages: {images} {part} images but {labels} labels; expected one label "
                    "per image: correct the loader"
                )


def load_mnist(data_dir: str | Path) -> RawImages:
    """Read MNIST from `MNIST/raw`; raise `DataError` if a file is missing or cannot be read."""
    return _read(MNIST, Path(data_dir), _read_mnist)


def load_cifar10(data_dir: str | Path) -> RawImages:
    """Read CIFAR-10 from `cifar-10-batches-py`; errors are those of `load_mnist`."""
    return _read(CIFAR10, Path(data_dir), _read_cifar10)


def load_synthetic(data_dir: str | Path) -> RawImages:  # noqa: ARG001 - generated
    """Make noise with random labels in the shape of MNIST, to measure speed without files."""
    spec = SYNTHETIC
    train = spec.train_images + spec.val_images
    side = spec.resolution or 1
    shape_NHWC = (train + spec.test_images, side, side, spec.channels)
    pixels = random_bytes(int(np.prod(shape_NHWC)), seed=SYNTHETIC_SEED).reshape(shape_NHWC)
    draws = raw_draws(shape_NHWC[0], seed=SYNTHETIC_SEED + 1)
    labels_N = (draws % np.uint64(spec.num_classes)).astype(np.int64)
    return RawImages(
        train_images_NHWC=pixels[:train],
        train_labels_N=labels_N[:train],
        test_images_NHWC=pixels[train:],
        test_labels_N=labels_N[train:],
    )


class _Inert:
    """Stands for a NumPy array, its class and its type in a pickle, and only keeps the state."""

    def __init__(self, *_: object) -> None:
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state


class _Unpickler(pickle.Unpickler):
    """Reads a batch of CIFAR-10. A pickle may call whatever it names, so it can name nothing."""

    def find_class(self, module: str, name: str) -> type[_Inert]:
        if name in ("_reconstruct", "ndarray", "dtype"):
            return _Inert
        raise pickle.UnpicklingError(f"{module}.{name} is no part of CIFAR-10")


def _read(spec: DatasetSpec, data_dir: Path, reader: Callable[[Path], RawImages]) -> RawImages:
    """Call a reader; if it fails because of a file, name the file and the remedy."""
    problem = check_files(spec, data_dir, checksum=False)
    if problem is not None:
        raise DataError(problem.message)
    try:
        return reader(data_dir)
    except Exception as error:  # a damaged file can fail anywhere in its reader
        problem = check_files(spec, data_dir, checksum=True)
        if problem is None:
            raise  # the files are good, so the cause is elsewhere
        raise DataError(problem.message) from error


def _read_mnist(data_dir: Path) -> RawImages:
    raw = data_dir / "MNIST" / "raw"
    return RawImages(
        train_images_NHWC=_read_idx(raw / "train-images-idx3-ubyte")[..., None],
        train_labels_N=_read_idx(raw / "train-labels-idx1-ubyte").astype(np.int64),
        test_images_NHWC=_read_idx(raw / "t10k-images-idx3-ubyte")[..., None],
        test_labels_N=_read_idx(raw / "t10k-labels-idx1-ubyte").astype(np.int64),
    )


def _read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """Read an array of bytes in MNIST's own format (IDX, yann.lecun.com/exdb/mnist).

    torchvision has a reader too, but importing torchvision takes a second in every training. The
    file is mapped, not copied: the split gathers its images right from the pages of the file. They
    can be written, which torch wants of an array, but the file stays as it is.
    """
    axes = int(np.fromfile(path, np.uint8, count=4)[3])
    shape = np.fromfile(path, ">i4", count=1 + axes)[1:]
    mapped = np.memmap(path, np.uint8, mode="c", offset=4 * (1 + axes))
    return mapped.view(np.ndarray).reshape(shape)


def _read_cifar10(data_dir: Path) -> RawImages:
    folder = data_dir / "cifar-10-batches-py"
    train_images_NHWC, train_labels_N = _cifar10_images(
        [folder / f"data_batch_{number}" for number in range(1, 6)]
    )
    test_images_NHWC, test_labels_N = _cifar10_images([folder / "test_batch"])
    return RawImages(
        train_images_NHWC=train_images_NHWC,
        train_labels_N=train_labels_N,
        test_images_NHWC=test_images_NHWC,
        test_labels_N=test_labels_N,
    )


def _cifar10_images(paths: Sequence[Path]) -> tuple[Images, Labels]:
    """Read batches as torchvision does; a checksum here would be on the clock."""
    rows, labels = [], []
    for path in paths:
        batch = _Unpickler(io.BytesIO(read_file(path)), encoding="bytes").load()
        _, shape, _, _, pixels = batch[b"data"].state
        rows.append(np.frombuffer(pixels, np.uint8).reshape(shape))
        labels += batch[b"labels"]
    images_NCHW = np.vstack(rows).reshape(-1, 3, 32, 32)
    images_NHWC = np.ascontiguousarray(images_NCHW.transpose(0, 2, 3, 1))
    return images_NHWC, np.asarray(labels, dtype=np.int64)


def _check_array(name: str, array: object) -> None:
    """Check an array by its name: `..._NHWC` is 4-dimensional pixels, `..._N` is a row of int64."""
    is_images = name.endswith("_NHWC")
    dims, dtypes = (4, (np.uint8, np.float32)) if is_images else (1, (np.int64,))
    if not isinstance(array, np.ndarray) or array.ndim != dims or array.dtype not in dtypes:
        found = type(array).__name__
        if isinstance(array, np.ndarray):
            found = f"{array.dtype} of shape {array.shape}"
        expected = " or ".join(np.dtype(each).name for each in dtypes)
        raise DataError(
            f"RawImages: {name} is {found}, expected a numpy array of {expected} with {dims} "
            f"dimension{'s' * (dims > 1)}: correct the loader"
        )
