"""A data set on the device: its three splits, whole or in chunks, and the order of training.

Torch half. The memory of the training and validation images is taken while the worker prepares;
they are read and copied on the clock. The test images come after it.

Shapes: `N` images of a split, `M` of a chunk, `B` of a batch.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from cnnperf.catalog.specs import DatasetSpec
from cnnperf.record.environment import Flag
from cnnperf.training.data import Splits
from cnnperf.training.engines.base import Batch, SplitName
from cnnperf.training.engines.fast import fallbacks as warnings
from cnnperf.training.engines.fast import free_memory as memory
from cnnperf.training.engines.fast.device_images import ResidentSplit

SMALL_RESOLUTION = 64
"""Up to this many pixels a side, evaluation takes 1,000 images at once; above, 125."""


class ResidentData:
    """Room for a data set on a device.

    Args:
        dataset: which.
        resolution: pixels a side that the model is fed.
        channels: that the model is fed.
        batch_size: of training; a chunk is a multiple of it.
        device: where.
        seed: of the order of training images.
    """

    def __init__(
        self,
        dataset: DatasetSpec,
        *,
        resolution: int,
        channels: int,
        batch_size: int,
        device: torch.device,
        seed: int,
    ) -> None:
        self._dataset, self._resolution = dataset, resolution
        self._channels, self._device = channels, device
        self._evaluation_batch_size = 1000 if resolution <= SMALL_RESOLUTION else 125
        self._free_bytes = memory.free_memory_bytes(device)
        self._chunk_images = memory.chunk_images(
            dataset, resolution, free_bytes=self._free_bytes, multiple=batch_size
        )
        self.train = self._room(dataset.train_images)
        self._validation = self._room(dataset.val_images)
        self._order = torch.Generator(device=device).manual_seed(seed)

    def _room(self, images: int) -> ResidentSplit:
        return ResidentSplit(
            self._dataset,
            images=images,
            resolution=self._resolution,
            channels=self._channels,
            device=self._device,
            chunk_images=self._chunk_images,
        )

    @property
    def flags(self) -> list[Flag]:
        """A warning where the data set does not fit."""
        if self._chunk_images is None or self._free_bytes is None:
            return []
        return [
            warnings.streamed(
                needed_bytes=memory.dataset_bytes(self._dataset, self._resolution),
                free_bytes=self._free_bytes,
                share=memory.MEMORY_SHARE,
                chunk_images=self._chunk_images,
                resolution=self._resolution,
            )
        ]

    def fill(self, splits: Splits) -> None:
        """Copy what is trained and validated on to the device, and resize it there."""
        self._splits = splits
        self.train.fill(splits.train)
        self._validation.fill(splits.val)

    def fill_with_noise(self) -> None:
        """Something to warm up on before the data set is read."""
        self.train.fill_with_noise()
        self._validation.fill_with_noise()

    def noise_for_evaluation(self) -> Iterator[Batch]:
        """A batch of each size that evaluating will ask for, of whatever lies there."""
        counts = (self._dataset.val_images, self._dataset.test_images)
        room = self._validation.chunk_images
        sizes = {min(count, self._evaluation_batch_size) for count in counts}
        sizes |= {count % self._evaluation_batch_size for count in counts} - {0}
        for size in sorted(sizes):
            yield self._validation.batch(torch.arange(size, device=self._device) % room)

    def shuffled_chunks(self) -> Iterator[torch.Tensor]:
        """Rows (M) of all training images in a new order, chunk by chunk."""
        order_N = torch.randperm(len(self.train), device=self._device, generator=self._order)
        return self.train.chunks(order_N)

    def evaluation_batches(self, split: SplitName) -> Iterator[Batch]:
        """Images and labels in order, in large batches."""
        images = self._validation if split == "validation" else self._test()
        for rows_M in images.chunks():
            yield from map(images.batch, torch.split(rows_M, self._evaluation_batch_size))

    def _test(self) -> ResidentSplit:
        test = self._splits.test
        images = self._room(len(test.labels_N))
        images.fill(test)
        return images
