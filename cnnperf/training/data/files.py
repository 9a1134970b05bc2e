"""Read folders of images and files of arrays (`cnnperf.catalog.files` describes them).

Images are decoded once, in parallel, resized so that the shorter side is R pixels, and cropped to
the centre square: the usual preparation for evaluation. Reading is on the clock, as for every data
set.

Shapes: N images, C channels, H W pixels before, R pixels a side after.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps
from torchvision.transforms.v2 import functional

from cnnperf.catalog.files import TEST_FRACTION, Labelled, list_images
from cnnperf.errors import DataError
from cnnperf.training.data.cache import DecodedCache
from cnnperf.training.data.draws import stratified_rows
from cnnperf.training.data.progress import report
from cnnperf.training.data.sources import Labels, RawImages

TEST_SEED = 0
"""Seed of the draw of test images from a data set without its own."""


def load_image_folder(
    data_dir: str | Path,
    *,
    folder: str,
    channels: int,
    resolution: int,
    cache: str | None = None,
) -> RawImages:
    """Decode all images of a folder as uint8 (N, R, R, C).

    Args:
        data_dir: the data directory, for the cache.
        folder: the folder of the images.
        channels: C, 1 or 3.
        resolution: R, in pixels.
        cache: folder for decoded images, which are read there if no image has changed; an empty
            text is `decoded` in the data directory, None decodes every time.

    Raises:
        DataError: an image cannot be decoded, or the cache cannot be written; the message names
            the file.
    """
    files = list_images(Path(folder)).files
    if cache is None:
        return join_splits(_decode_splits(files, channels, resolution))
    place = Path(cache or Path(data_dir) / "decoded")
    decoded = DecodedCache(place, Path(folder), files, (resolution, resolution, channels))
    images = decoded.read()
    if images is None:
        splits = _decode_splits(files, channels, resolution)
        images = {split: images for split, (images, _) in splits.items()}
        decoded.write(images)
    return join_splits({split: (images[split], _labels(files[split])) for split in files})


def load_arrays(data_dir: str | Path, *, file: str) -> RawImages:  # noqa: ARG001 - as above
    """Read the arrays of a `.npz` or `.safetensors` file.

    Raises:
        DataError: the file cannot be read, or lacks the labels of a split.
    """
    arrays = _read_arrays(Path(file))
    splits = {}
    for split in ("train", "val", "test"):
        images, labels = arrays.get(f"{split}_images"), arrays.get(f"{split}_labels")
        if images is None:
            continue
        if labels is None or len(labels) != len(images):
            found = "none" if labels is None else f"{len(labels)}"
            raise DataError(f"{file}: {split}_images has {len(images)} images but {found} labels")
        images_NHWC = images if images.ndim == 4 else images[..., None]
        splits[split] = (np.ascontiguousarray(images_NHWC), labels.astype(np.int64))
    return join_splits(splits)


def _read_arrays(file: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        if file.suffix == ".npz":
            with np.load(file, allow_pickle=False) as arrays:
                return dict(arrays)
        from safetensors.numpy import load_file

        return dict(load_file(file))
    except ImportError as error:
        raise DataError(f"{file} needs safetensors ({error}): pip install safetensors") from error
    except Exception as error:  # a damaged file can fail anywhere in its reader
        raise DataError(f"{file} cannot be read ({error}); write it again") from error


def join_splits(splits: dict[str, tuple[npt.NDArray[Any], Labels]]) -> RawImages:
    """Put splits together as a data set: what has no test images draws some from training."""
    if "test" not in splits and "val" in splits:
        splits = {"train": splits["train"], "test": splits["val"]}
    images_NHWC, labels_N = splits["train"]
    if "test" not in splits:
        count = round(len(labels_N) * TEST_FRACTION)
        rows = stratified_rows(labels_N, count, seed=TEST_SEED)
        rest = np.setdiff1d(np.arange(len(labels_N)), rows)
        splits["test"] = images_NHWC[rows], labels_N[rows]
        images_NHWC, labels_N = images_NHWC[rest], labels_N[rest]
    val_rows = None
    if "val" in splits:
        val_rows = np.arange(len(labels_N), len(labels_N) + len(splits["val"][1]))
        images_NHWC = np.concatenate([images_NHWC, splits["val"][0]])
        labels_N = np.concatenate([labels_N, splits["val"][1]])
    return RawImages(
        train_images_NHWC=images_NHWC,
        train_labels_N=labels_N,
        test_images_NHWC=splits["test"][0],
        test_labels_N=splits["test"][1],
        val_rows_N=val_rows,
    )


def _decode_splits(
    files: dict[str, Labelled], channels: int, resolution: int
) -> dict[str, tuple[npt.NDArray[np.uint8], Labels]]:
    total, done = sum(map(len, files.values())), 0
    splits = {}
    for split, labelled in files.items():

        def decode(row: int, labelled: Labelled = labelled) -> npt.NDArray[np.uint8]:
            return _decode(labelled[row][0], channels, resolution)

        shape = (resolution, resolution, channels)
        splits[split] = decode_rows(decode, len(labelled), shape, done, total), _labels(labelled)
        done += len(labelled)
    return splits


def decode_rows(
    decode: Callable[[int], npt.NDArray[np.uint8]],
    count: int,
    shape_HWC: tuple[int, int, int],
    done: int,
    total: int,
) -> npt.NDArray[np.uint8]:
    """Decode a split in parallel and report the progress.

    Args:
        decode: returns the image of a row.
        count: N, the number of rows.
        shape_HWC: the shape of each image.
        done: images of earlier splits.
        total: images of all splits.
    """
    images_NHWC = np.empty((count, *shape_HWC), dtype=np.uint8)
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:  # Pillow decodes without the GIL
        try:
            for row, image_HWC in enumerate(pool.map(decode, range(count))):
                images_NHWC[row] = image_HWC
                report(done + row + 1, total)
        except BaseException:
            pool.shutdown(cancel_futures=True)  # the first error counts; the rest need no decoding
            raise
    return images_NHWC


def _labels(files: Sequence[tuple[Path, int]]) -> Labels:
    return np.array([label for _, label in files], dtype=np.int64)


def _decode(path: Path, channels: int, resolution: int) -> npt.NDArray[np.uint8]:
    try:
        with Image.open(path) as file:
            return to_square(file, channels, resolution)
    except Exception as error:  # a broken file can fail anywhere in its decoder
        raise DataError(f"{path} cannot be decoded ({error}); replace it or delete it") from error


def to_square(image: Image.Image, channels: int, resolution: int) -> npt.NDArray[np.uint8]:
    """Return an image as uint8 (R, R, C): turned upright, resized and cropped to the centre."""
    upright = ImageOps.exif_transpose(image).convert("L" if channels == 1 else "RGB")
    square = functional.center_crop(
        functional.resize(upright, [resolution], antialias=True), [resolution, resolution]
    )
    return np.asarray(square).reshape(resolution, resolution, channels)
