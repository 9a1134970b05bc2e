"""Keep the decoded images of a folder in a file, which is used while no image has changed.

The file holds a hash of everything that decides the pixels: the names and bytes of all image files,
the size, and the version of Pillow. Reading the bytes is quick beside decoding them. A file that is
damaged, or of other images, is written again; it is never trusted. A file of NumPy (`.npz`) has a
checksum of each array.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from pathlib import Path

import numpy as np
import numpy.typing as npt
import PIL

from cnnperf.catalog.files import Labelled
from cnnperf.errors import DataError

VERSION = 1
"""Raise it when images are decoded otherwise."""

Decoded = dict[str, npt.NDArray[np.uint8]]
"""Images (N, H, W, C) by split."""


class DecodedCache:
    """The cache file of one folder of images, at one size.

    Args:
        place: the folder of the cache.
        folder: the folder of the images.
        files: the image files of each split.
        shape_HWC: the shape of a decoded image.

    Raises:
        DataError: the cache or an image cannot be read.
    """

    def __init__(
        self,
        place: Path,
        folder: Path,
        files: dict[str, Labelled],
        shape_HWC: tuple[int, int, int],
    ) -> None:
        self._shapes = {split: (len(each), *shape_HWC) for split, each in files.items()}
        where = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:8]
        size = "x".join(map(str, shape_HWC))
        self.path = place / f"{folder.name}-{size}-{where}.npz"
        try:
            place.mkdir(parents=True, exist_ok=True)
            self._key = self._hash(folder, files)
        except OSError as error:
            raise self._error(error) from error

    def _hash(self, folder: Path, files: dict[str, Labelled]) -> str:
        digest = hashlib.sha256(f"{VERSION} {PIL.__version__} {self._shapes}".encode())
        for split in sorted(files):
            for path, label in files[split]:
                content = path.read_bytes()
                name = path.relative_to(folder)
                digest.update(f"\n{split} {label} {name} {len(content)}\n".encode())
                digest.update(content)
        return digest.hexdigest()

    def read(self) -> Decoded | None:
        """Return the decoded images; None if there are none, or not of these image files."""
        try:
            with np.load(self.path, allow_pickle=False) as arrays:
                if str(arrays["key"]) != self._key:
                    return None
                images = {split: arrays[split] for split in self._shapes}
        except Exception:  # a damaged file can fail anywhere in its reader
            return None
        found = {split: (each.shape, each.dtype.name) for split, each in images.items()}
        expected = {split: (shape, "uint8") for split, shape in self._shapes.items()}
        return images if found == expected else None

    def write(self, images: Decoded) -> None:
        """Write decoded images beside their place, then move them there.

        Raises:
            DataError: the file cannot be written.
        """
        part = self.path.with_name(f".cnnperf-{secrets.token_hex(8)}.part")
        try:
            with part.open("xb") as file:  # not in memory first: it may be gigabytes
                np.savez(file, key=np.array(self._key), **images)  # type: ignore[arg-type]
                file.flush()
                os.fsync(file.fileno())
            part.replace(self.path)
        except OSError as error:
            raise self._error(error) from error
        finally:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)

    def _error(self, error: OSError) -> DataError:
        return DataError(
            f"the cache {self.path} cannot be used ({error.strerror or error}: "
            f"{error.filename or self.path.parent}); name another folder with cache, or leave it "
            "out"
        )
