"""Describe data sets that lie on disk as folders of images or as files of arrays, without torch.

A description has what a plan needs before anything is read: numbers of images and classes. The
readers in `cnnperf.training.data.files` use the same lists, so that both agree.

    images/                     images/
      train/cat/1.jpg             cat/1.jpg
      val/cat/2.jpg               dog/2.jpg
      test/dog/3.jpg

Without a folder or array for validation, a tenth of the training images is used; without one for
testing, a fifth. The draw is fixed.
"""

from __future__ import annotations

import json
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnnperf.catalog.specs import DatasetSpec
from cnnperf.errors import DataError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".gif", ".webp"})
"""Images that are read; Pillow decodes them."""

SPLITS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
"""Names of the folders of each split."""

VAL_FRACTION = 0.1
TEST_FRACTION = 0.2

SAFETENSORS_DTYPES = {"U8": "uint8", "F32": "float32", "I64": "int64", "I32": "int32"}

Labelled = list[tuple[Path, int]]


@dataclass(frozen=True, kw_only=True)
class ImageFolder:
    """The files of a folder with one folder a class."""

    classes: tuple[str, ...]
    """In the order of the labels."""
    files: dict[str, Labelled]
    """Path and label by split, `train`, `val` and `test`, sorted; absent without such a folder."""


def list_images(folder: Path) -> ImageFolder:
    """List the images of a folder.

    Raises:
        DataError: there is no such folder, fewer than two classes, or a class without images.
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}; expected one with a folder for each class")
    roots = {
        split: folder / name
        for split, names in SPLITS.items()
        for name in names
        if (folder / name).is_dir()
    }
    if "train" not in roots:
        roots = {"train": folder}
    classes = _folders(roots["train"])
    if len(classes) < 2:
        raise DataError(
            f"{roots['train']} has {len(classes)} folders; expected one for each class, two or more"
        )
    files: dict[str, Labelled] = {}
    for split, root in roots.items():
        unknown = sorted(set(_folders(root)) - set(classes))
        if unknown:
            raise DataError(f"{root / unknown[0]} is a class that {roots['train']} does not have")
        found = {name: _images(root / name) for name in classes}
        empty = [name for name, paths in found.items() if not paths]
        if empty and split == "train":
            raise DataError(
                f"{root / empty[0]} has no images ({', '.join(sorted(SUFFIXES))}); add some, or "
                "remove the folder"
            )
        if len(empty) == len(classes):
            raise DataError(f"{root} has no images ({', '.join(sorted(SUFFIXES))}); add some")
        files[split] = [(path, label) for label, name in enumerate(classes) for path in found[name]]
    return ImageFolder(classes=tuple(classes), files=files)


def describe_images(name: str, folder: Path, cache: str | None = None, **given: Any) -> DatasetSpec:
    """Describe a folder of images; `given` are fields of the description, which win.

    `cache` is a folder for decoded images; an empty text is `decoded` in the data directory.

    Raises:
        DataError: as `list_images`.
    """
    found = list_images(folder)
    channels = given.get("channels", 3)
    if channels not in (1, 3):
        raise DataError(
            f"data set {name}: an image file has 1 or 3 channels, not {channels}; use arrays for "
            "images with other channels"
        )
    counts = {split: len(files) for split, files in found.files.items()}
    return describe_counts(
        name,
        counts,
        loader="cnnperf.training.data.files:load_image_folder",
        arguments={"folder": str(folder), "channels": channels}
        | ({} if cache is None else {"cache": cache}),
        **{
            "channels": channels,
            "resolution": None,
            "num_classes": len(found.classes),
            "classes": found.classes,
            "source": f"folder {folder.name}",
            **given,
        },
    )


def describe_arrays(name: str, file: Path, **given: Any) -> DatasetSpec:
    """Describe a file of arrays, `.npz` or `.safetensors`.

    Its arrays are `train_images` (N, H, W, C) or (N, H, W), uint8 or float32, `train_labels` (N),
    and the same for `val` and `test`, if there are. The labels are not read here: give
    `num_classes`.

    Raises:
        DataError: the file cannot be read, lacks an array, or `num_classes` is not given.
    """
    if "num_classes" not in given:
        raise DataError(
            f"data set {name}: give num_classes, the number of classes in {file.name}, or classes, "
            "their names"
        )
    shapes = array_shapes(file)
    for wanted in ("train_images", "train_labels"):
        if wanted not in shapes:
            raise DataError(f"{file} has no array {wanted}; it has {', '.join(shapes) or 'none'}")
    shape, dtype = shapes["train_images"]
    if len(shape) not in (3, 4) or dtype not in ("uint8", "float32") or shape[1] != shape[2]:
        raise DataError(
            f"{file}: train_images is {dtype} of shape {shape}, expected uint8 or float32 of shape "
            "(images, pixels, pixels, channels) or (images, pixels, pixels)"
        )
    channels = shape[3] if len(shape) == 4 else 1
    counts = {
        split: shapes[f"{split}_images"][0][0] for split in SPLITS if f"{split}_images" in shapes
    }
    return describe_counts(
        name,
        counts,
        loader="cnnperf.training.data.files:load_arrays",
        arguments={"file": str(file)},
        **{
            "channels": channels,
            "resolution": shape[1],
            "dtype": dtype,
            "source": f"file {file.name}",
            **given,
        },
    )


def describe_counts(name: str, counts: dict[str, int], **fields: Any) -> DatasetSpec:
    """Describe a data set by the number of images of each split, `train`, `val` and `test`.

    Without images for testing or validation, training gives some.

    Raises:
        DataError: a split has no images.
    """
    train = counts["train"]
    if "test" not in counts and "val" in counts:  # as in ImageNet, whose test labels are secret
        counts = {"train": train, "test": counts["val"]}
    test = counts.get("test") or round(train * TEST_FRACTION)
    train -= 0 if "test" in counts else test
    val = counts.get("val") or round(train * VAL_FRACTION)
    train -= 0 if "val" in counts else val
    if min(train, val, test) < 1:
        raise DataError(
            f"data set {name} has {train} training, {val} validation and {test} test images; "
            "expected at least one of each"
        )
    counts = {"train_images": train, "val_images": val, "test_images": test}
    return DatasetSpec.model_validate({"name": name, **counts, **fields})


def array_shapes(file: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Return shape and dtype of each array of a file, without reading the arrays.

    Raises:
        DataError: the file is missing, or neither `.npz` nor `.safetensors`.
    """
    readers = {".npz": _npz_shapes, ".safetensors": _safetensors_shapes}
    if file.suffix not in readers:
        raise DataError(f"{file} is neither .npz nor .safetensors; save the arrays as one of them")
    try:
        return readers[file.suffix](file)
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, zipfile.BadZipFile, struct.error) as error:
        raise DataError(f"{file} is damaged ({error}); write it again") from error


def _npz_shapes(file: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    from numpy.lib import format as npy_format

    shapes = {}
    with zipfile.ZipFile(file) as archive:
        for member in archive.namelist():
            with archive.open(member) as stream:
                version = npy_format.read_magic(stream)
                read = {
                    (1, 0): npy_format.read_array_header_1_0,
                    (2, 0): npy_format.read_array_header_2_0,
                }[version]
                shape, _, dtype = read(stream)
            shapes[member.removesuffix(".npy")] = (tuple(shape), dtype.name)
    return shapes


def _safetensors_shapes(file: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        if length > 100_000_000:  # the format's own limit
            raise ValueError("its header is too long")
        header = json.loads(stream.read(length))
    return {
        name: (tuple(entry["shape"]), SAFETENSORS_DTYPES.get(entry["dtype"], entry["dtype"]))
        for name, entry in header.items()
        if name != "__metadata__"
    }


def _folders(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir() if each.is_dir() and each.name[0] != ".")


def _images(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
