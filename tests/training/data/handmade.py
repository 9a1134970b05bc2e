"""Small files in the formats of MNIST and CIFAR-10, and a network that is down; without torch."""

from __future__ import annotations

import hashlib
import pickle
import struct
import urllib.error
import urllib.request
from pathlib import Path
from typing import NoReturn

import numpy as np

from cnnperf.catalog.specs import DataFile, DatasetSpec


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


class _Python2(pickle._Pickler):
    """Writes all text as bytes without an encoding, as the Python 2 did that wrote CIFAR-10."""

    def save_text(self, text: str | bytes) -> None:
        content = text.encode() if isinstance(text, str) else text
        self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)

    dispatch = {**pickle._Pickler.dispatch, str: save_text, bytes: save_text}  # noqa: RUF012


def write_pickle(path: Path, content: object) -> None:
    """The format of CIFAR-10's files."""
    with path.open("wb") as file:
        _Python2(file, protocol=2).dump(content)


def noise(*shape: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def no_network(*args: object, **kwargs: object) -> NoReturn:
    raise urllib.error.URLError("no network in tests")
