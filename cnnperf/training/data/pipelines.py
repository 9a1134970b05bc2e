"""Use a user's input pipeline as it is: the Dataset or DataLoader of torch that a function returns.

    def make(split, data_dir, *, batch_size, resolution, seed, **arguments):
        return MyDataset(split)  # or a DataLoader, with workers and transforms of its own

`split` is "train", "validation" or "test". A batch is images (B, C, H, W), floating-point or uint8,
and labels (B), int64. uint8 is scaled to 0..1; the pipeline does everything else. An epoch is as
many batches as the declared number of training images fills, so a stream may be endless.

Shapes: B images of a batch, C channels, H W pixels.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from cnnperf.catalog.specs import DatasetSpec
from cnnperf.errors import DataError
from cnnperf.training.data.splits import expected_labels

PipelineSplit = Literal["train", "validation", "test"]
Made: TypeAlias = "Dataset[Any] | DataLoader[Any]"


def open_pipeline(
    spec: DatasetSpec, split: PipelineSplit, data_dir: str, *, batch_size: int, seed: int
) -> Made:
    """Call the factory of a data set for one split; `spec` is the data set at its resolution.

    Raises:
        DataError: it returns something else, or another number of images than declared.
    """
    make = pkgutil.resolve_name(spec.import_path)
    asked = {"batch_size": batch_size, "resolution": spec.resolution, "seed": seed}
    made = make(split, data_dir, **{**asked, **spec.arguments})
    if not isinstance(made, Dataset | DataLoader):
        raise _error(
            spec, split, f"returned {type(made).__name__}, expected a torch Dataset or DataLoader"
        )
    dataset = made.dataset if isinstance(made, DataLoader) else made
    found = None if isinstance(dataset, IterableDataset) else len(dataset)  # type: ignore[arg-type]
    if found not in (None, declared_images(spec, split)):
        raise _error(
            spec, split, f"has {found} images, but the data set declares "
            f"{declared_images(spec, split)}; correct {COUNTS[split]}",
        )  # fmt: skip
    return made


COUNTS = {"train": "train_images", "validation": "val_images", "test": "test_images"}


def declared_images(spec: DatasetSpec, split: PipelineSplit) -> int:
    """Return the number of images that a data set says it has."""
    return int(getattr(spec, COUNTS[split]))


class CheckedBatches:
    """Batches of a loader, checked for type and shape, and for a pipeline that ends too early.

    Args:
        spec: the data set at the resolution of its case.
        split: which of its splits.
        loader: its batches.
        batch_size: the most images of a training batch.
        batches: the number of batches to yield; None yields all, which must have the declared
            number of images.
    """

    def __init__(
        self,
        spec: DatasetSpec,
        split: PipelineSplit,
        loader: DataLoader[Any],
        *,
        batch_size: int,
        batches: int | None = None,
    ) -> None:
        self._spec, self._split, self._loader = spec, split, loader
        self._batch_size, self._batches = batch_size, batches

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images (B, C, H, W), as they are, and labels (B).

        Raises:
            DataError: a batch is not what the data set declares, or batches are missing.
        """
        images, number = 0, 0
        for number, batch in enumerate(self._loader, start=1):
            most = self._batch_size if self._split == "train" else None
            problem = batch_problem(self._spec, batch, most)
            if problem is not None:
                raise _error(self._spec, self._split, f"gave {problem} in batch {number}")
            images += len(batch[1])
            yield batch[0], batch[1]
            if number == self._batches:
                return
        declared = declared_images(self._spec, self._split)
        if self._batches is not None:
            raise _error(
                self._spec, self._split, f"ended after {number} batches and {images} images, "
                f"expected {self._batches} batches of up to {self._batch_size}; correct "
                "train_images, or drop_last of the recipe",
            )  # fmt: skip
        if images != declared:
            raise _error(
                self._spec, self._split, f"gave {images} images, but the data set declares "
                f"{declared}; correct {COUNTS[self._split]}",
            )  # fmt: skip


def batch_problem(spec: DatasetSpec, batch: Any, batch_size: int | None) -> str | None:
    """Describe what is wrong with a batch, or return None.

    Labels on a GPU are not looked at: that would wait for it.
    """
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        return f"{type(batch).__name__}, expected a pair of images and labels,"
    images, labels = batch
    for name, tensor in (("images", images), ("labels", labels)):
        if not isinstance(tensor, Tensor):
            return f"{name} as {type(tensor).__name__}, expected a tensor,"
    size = len(labels) if labels.dim() == 1 else -1
    shape = (size, spec.channels, spec.resolution, spec.resolution)
    pixels = images.dtype == torch.uint8 or images.is_floating_point()
    if tuple(images.shape) != shape or not pixels:
        return (
            f"images of {_describe(images)}, expected uint8 or float of shape (B, "
            f"{', '.join(map(str, shape[1:]))}) with labels (B),"
        )
    if labels.dtype != torch.int64:
        return f"labels of {_describe(labels)}, expected int64 of shape (B),"
    if batch_size is not None and size > batch_size:
        return f"{size} images, expected at most batch_size, {batch_size},"
    if labels.device.type == "cpu":
        lowest, highest = int(labels.min()), int(labels.max())
        if lowest < 0 or highest >= spec.num_classes:
            return f"labels from {lowest} to {highest}, {expected_labels(spec, lowest, highest)},"
    return None


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"


def _error(spec: DatasetSpec, split: PipelineSplit, problem: str) -> DataError:
    return DataError(f"data set {spec.name}: pipeline {spec.pipeline}, split {split}, {problem}")
