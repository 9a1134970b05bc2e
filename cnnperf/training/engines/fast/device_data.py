"""A data set on the device: its three splits, whole or in chunks, and the order of training.

The worker allocates the memory of training and validation images while it prepares. They are read
and copied on the clock; test images are copied later.

Shapes: N images of a split, M of a chunk, B of a batch.
"""

from __future__ import annotations

from collections.abc import Iterator

import psutil
import torch

from cnnperf.catalog.specs import DatasetSpec
from cnnperf.record.environment import Flag
from cnnperf.training.data import Splits
from cnnperf.training.engines.base import SMALL_RESOLUTION, Batch, SplitName
from cnnperf.training.engines.fast import fallbacks
from cnnperf.training.engines.fast.device_split import DeviceSplit

MEMORY_SHARE = 0.5
"""Share of the free memory for the data set; the rest is for weights and activations."""


class DeviceData:
    """Memory on a device for a data set.

    Args:
        dataset: the data set.
        resolution: pixels a side of the model's input.
        channels: channels of the model's input.
        batch_size: batch size of training; a chunk is a multiple of it.
        device: the device.
        seed: seed of the order of training images.
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
        free_bytes = free_memory_bytes(device)
        self._chunk_images = chunk_images(
            dataset, resolution, free_bytes=free_bytes, multiple=batch_size
        )
        self.flags: list[Flag] = []
        """A warning if the data set does not fit."""
        if self._chunk_images is not None and free_bytes is not None:
            self.flags.append(
                fallbacks.streamed(
                    needed_bytes=dataset_bytes(dataset, resolution),
                    free_bytes=free_bytes,
                    share=MEMORY_SHARE,
                    chunk_images=self._chunk_images,
                    resolution=resolution,
                )
            )
        self.train = self._allocate(dataset.train_images)
        self._validation = self._allocate(dataset.val_images)
        self._order = torch.Generator(device=device).manual_seed(seed)

    def _allocate(self, images: int) -> DeviceSplit:
        return DeviceSplit(
            self._dataset,
            images=images,
            resolution=self._resolution,
            channels=self._channels,
            device=self._device,
            chunk_images=self._chunk_images,
        )

    def fill(self, splits: Splits) -> None:
        """Copy training and validation images to the device and resize them there."""
        self._splits = splits
        self.train.fill(splits.train)
        self._validation.fill(splits.val)

    def fill_with_noise(self) -> None:
        """Fill both splits with noise, for warm-up before the data set is read."""
        self.train.fill_with_noise()
        self._validation.fill_with_noise()

    def noise_for_evaluation(self) -> Iterator[Batch]:
        """Yield one batch of each size that evaluation uses, with any content."""
        counts = (self._dataset.val_images, self._dataset.test_images)
        sizes = {min(count, self._evaluation_batch_size) for count in counts}
        sizes |= {count % self._evaluation_batch_size for count in counts} - {0}
        for size in sorted(sizes):
            rows_B = torch.arange(size, device=self._device) % self._validation.chunk_images
            yield self._validation.batch(rows_B)

    def shuffled_chunks(self) -> Iterator[torch.Tensor]:
        """Yield the rows (M) of all training images in a new order, chunk by chunk."""
        order_N = torch.randperm(len(self.train), device=self._device, generator=self._order)
        return self.train.chunks(order_N)

    def evaluation_batches(self, split: SplitName) -> Iterator[Batch]:
        """Yield images and labels in order, in large batches."""
        images = self._validation
        if split == "test":
            images = self._allocate(len(self._splits.test))
            images.fill(self._splits.test)
        for rows_M in images.chunks():
            yield from map(images.batch, torch.split(rows_M, self._evaluation_batch_size))


def free_memory_bytes(device: torch.device) -> int | None:
    """Return the bytes that this process can still allocate; None if the device has no figure."""
    if device.type == "cpu":
        return int(psutil.virtual_memory().available)
    if device.type in ("cuda", "xpu"):
        backend = getattr(torch, device.type)
        cached = backend.memory_reserved(device) - backend.memory_allocated(device)
        return int(backend.mem_get_info(device)[0] + cached)
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    return None


def dataset_bytes(dataset: DatasetSpec, resolution: int) -> int:
    """Return the bytes of all images of a data set as uint8 pixels at a resolution."""
    images = dataset.train_images + dataset.val_images + dataset.test_images
    return images * dataset.channels * resolution**2


def chunk_images(
    dataset: DatasetSpec, resolution: int, *, free_bytes: int | None, multiple: int
) -> int | None:
    """Return how many images of a split fit on the device at once; None if all do.

    The number is a multiple of the batch size. Each of the three splits gets a third of the memory.
    """
    if free_bytes is None or dataset_bytes(dataset, resolution) <= free_bytes * MEMORY_SHARE:
        return None
    image_bytes = dataset.channels * resolution**2
    fitting = int(free_bytes * MEMORY_SHARE / 3 / image_bytes)
    return max(1, fitting // multiple) * multiple
