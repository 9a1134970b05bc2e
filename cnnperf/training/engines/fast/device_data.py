"""A data set on the device: its three splits, whole or in chunks, and the order of training.

A DataLoader decodes, transforms and copies every image in every epoch. Here a split is copied once
as it was read, mostly as bytes, and a batch is a gather of rows. Normalised, it equals in every bit
the tensors of torchvision's `ToTensor` and `Normalize`. The worker allocates its memory while it
prepares, so that a CUDA graph can hold the address. Training and validation images are read and
copied on the clock, test images later. A split that does not fit stays on the host and is copied in
chunks.

Shapes: N images of a split, M of a chunk, B of a batch, C channels, H W pixels, R pixels a side of
the model's input.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import psutil
import torch

from cnnperf.catalog.specs import DatasetSpec
from cnnperf.record.environment import Flag
from cnnperf.record.metrics import format_bytes
from cnnperf.training.data import Split, Splits
from cnnperf.training.data.resize import resize_exactly
from cnnperf.training.engines.base import SMALL_RESOLUTION, Batch, SplitName
from cnnperf.training.ranks import ALONE, Ranks


class DeviceSplit:
    """One split on a device, whole or one chunk at a time.

    Args:
        spec: the data set, for its mean and deviation.
        images: N, the number of images.
        resolution: R, pixels a side of the model's input.
        channels: channels of the model's input; 3 repeat a grey image.
        device: where the images are.
        chunk_images: number of images on the device at a time; the default is all.
        ready_dtype: dtype in which the images are kept normalised as well, to gather from; the
            default is to normalise each batch.
    """

    def __init__(
        self,
        spec: DatasetSpec,
        *,
        images: int,
        resolution: int,
        channels: int,
        device: torch.device,
        chunk_images: int | None = None,
        ready_dtype: torch.dtype | None = None,
    ) -> None:
        self._images, self._channels = images, channels
        self.chunk_images = min(images, chunk_images or images)
        self.images_MRRC = torch.empty(
            self.chunk_images, resolution, resolution, spec.channels,
            dtype=getattr(torch, spec.dtype), device=device,
        )  # fmt: skip
        self.labels_M = torch.empty(self.chunk_images, dtype=torch.int64, device=device)
        self._ready_MRRC: torch.Tensor | None = None
        if ready_dtype is not None:
            self._ready_MRRC = torch.empty_like(self.images_MRRC, dtype=ready_dtype)
        self._mean_C11 = torch.zeros(spec.channels, 1, 1, device=device)
        # A tensor, because CUDA multiplies by the inverse of a plain number.
        self._255 = torch.tensor(255.0, device=device)
        self._std_C11 = torch.ones(spec.channels, 1, 1, device=device)
        self.normalise_by(spec)

    def __len__(self) -> int:
        return self._images

    @property
    def is_whole(self) -> bool:
        """Whether all images are on the device at once."""
        return self.chunk_images == self._images

    def normalise_by(self, spec: DatasetSpec) -> None:
        """Take the mean and deviation of a data set, unless they are not measured yet.

        They keep their addresses, which a CUDA graph holds.
        """
        if spec.mean is not None and spec.std is not None:
            self._mean_C11.copy_(torch.tensor(spec.mean).view(-1, 1, 1))
            self._std_C11.copy_(torch.tensor(spec.std).view(-1, 1, 1))

    def fill_with_noise(self) -> None:
        """Fill with noise of class 0, for warm-up before the data set is read."""
        self.images_MRRC.random_(0, 256)  # a float holds these numbers too
        self.labels_M.zero_()
        self._make_ready()

    def fill(self, split: Split) -> None:
        """Take a split's pixels and labels; if it fits, copy and resize it now."""
        self._host_NHWC = torch.as_tensor(split.images_NHWC)
        self._host_labels_N = torch.as_tensor(split.labels_N)
        if self.is_whole:
            self._copy(self._host_NHWC, self._host_labels_N)

    def _copy(self, images_MHWC: torch.Tensor, labels_M: torch.Tensor) -> None:
        on_device = images_MHWC.to(self.images_MRRC.device)
        resolution = self.images_MRRC.shape[1]
        self.images_MRRC[: len(labels_M)] = resize_exactly(on_device, resolution)
        self.labels_M[: len(labels_M)] = labels_M
        self._make_ready()

    def _make_ready(self) -> None:
        if self._ready_MRRC is None:
            return
        for start in range(0, self.chunk_images, NORMALISED_AT_ONCE):
            some = slice(start, start + NORMALISED_AT_ONCE)
            images_BCRR = self._normalised(self.images_MRRC[some])
            self._ready_MRRC[some] = images_BCRR.permute(0, 2, 3, 1)

    def chunks(self, order_N: torch.Tensor | None = None) -> Iterator[torch.Tensor]:
        """Copy all images to the device, chunk by chunk, and yield the rows (M) of each chunk.

        `order_N` are rows of the split, on any device; the default is 0 to N-1.
        """
        device = self.labels_M.device
        if order_N is None:
            order_N = torch.arange(len(self), device=device)
        if self.is_whole:
            yield order_N
            return
        for chunk_M in torch.split(order_N.cpu(), self.chunk_images):
            self._copy(self._host_NHWC[chunk_M], self._host_labels_N[chunk_M])
            yield torch.arange(len(chunk_M), device=device)

    def batch(self, rows_B: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return images (B, C, R, R), channels last in memory, and labels (B).

        The images are float32, or have the dtype in which they are ready.

        `rows_B` are rows of the chunk on the device.
        """
        if self._ready_MRRC is None:
            images_BCRR = self._normalised(self.images_MRRC[rows_B])
        else:
            images_BCRR = self._ready_MRRC[rows_B].permute(0, 3, 1, 2)
        return images_BCRR.expand(-1, self._channels, -1, -1), self.labels_M[rows_B]

    def _normalised(self, images_BRRC: torch.Tensor) -> torch.Tensor:
        """Return images (B, C, R, R) by torchvision's operations in their order and rounding."""
        images_BCRR = images_BRRC.permute(0, 3, 1, 2).to(torch.float32, copy=True)
        if images_BRRC.dtype == torch.uint8:
            images_BCRR.div_(self._255)
        return images_BCRR.sub_(self._mean_C11).div_(self._std_C11)


NORMALISED_AT_ONCE = 1024
"""Images whose float32 values exist at a time while all are normalised."""

MEMORY_SHARE = 0.5
"""Share of the free memory for the data set; the rest is for weights and activations."""


class DeviceData:
    """Memory on a device for a data set; a chunk is a multiple of the batch size of training.

    With ranks, each holds the whole data set, draws the same order, and evaluates its part.

    Resolution (pixels a side) and channels are those of the model's input. The seed is that of the
    order of training images. Images are kept normalised in `ready_dtype` where there is room.
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
        ranks: Ranks = ALONE,
        ready_dtype: torch.dtype | None = None,
    ) -> None:
        self._ranks = ranks
        self._dataset, self._resolution = dataset, resolution
        self._channels, self._device = channels, device
        self._evaluation_batch_size = 1000 if resolution <= SMALL_RESOLUTION else 125
        free_bytes = free_memory_bytes(device)
        self._ready_dtype = ready_dtype
        if ready_dtype is not None and free_bytes is not None:
            value_bytes = dataset.bytes_per_value + ready_dtype.itemsize
            needed_bytes = (
                dataset_bytes(dataset, resolution) // dataset.bytes_per_value * value_bytes
            )
            self._ready_dtype = ready_dtype if needed_bytes <= free_bytes * MEMORY_SHARE else None
        self._chunk_images = chunk_images(
            dataset, resolution, free_bytes=free_bytes, multiple=batch_size
        )
        self.flags: list[Flag] = []
        """A warning if the data set does not fit."""
        if self._chunk_images is not None and free_bytes is not None:
            needed_bytes = dataset_bytes(dataset, resolution)
            message = (
                f"The data set needs {format_bytes(needed_bytes)} at {resolution} pixels, more "
                f"than {MEMORY_SHARE:.0%} of the {format_bytes(free_bytes)} free on the device. It "
                f"was copied there {self._chunk_images:,} images at a time, which is slower. Stop "
                "other programs that use this memory, or use a smaller resolution."
            )
            self.flags.append(Flag(kind="streamed", value=float(needed_bytes), message=message))
        self.train = self._allocate(dataset.train_images)
        self._validation = self._allocate(dataset.val_images)
        self._seed = seed
        self._order = torch.Generator(device=device)
        self.restart()

    def _allocate(self, images: int) -> DeviceSplit:
        return DeviceSplit(
            self._dataset,
            images=images,
            resolution=self._resolution,
            channels=self._channels,
            device=self._device,
            chunk_images=self._chunk_images,
            ready_dtype=self._ready_dtype,
        )

    def fill(self, splits: Splits, dataset: DatasetSpec) -> None:
        """Copy training and validation images to the device and resize them there.

        `dataset` has the mean and deviation, which may have been measured only now.
        """
        self._splits, self._dataset = splits, dataset
        for images in (self.train, self._validation):
            images.normalise_by(dataset)
        self.train.fill(splits.train)
        self._validation.fill(splits.val)

    def fill_with_noise(self) -> None:
        """Fill both splits with noise, for warm-up before the data set is read."""
        self.train.fill_with_noise()
        self._validation.fill_with_noise()

    def rehearse(self) -> None:
        """Copy and resize blank images as `fill` will do; it then finds its memory and kernels."""
        for split in (self.train, self._validation):
            if split.is_whole:
                split.fill(blank(self._dataset, len(split), self._resolution))

    def restart(self) -> None:
        """Begin again with the order of the first epoch."""
        self._order.manual_seed(self._seed)

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
            batches = torch.split(rows_M, self._evaluation_batch_size)
            own = batches[self._ranks.rank :: self._ranks.size]
            yield from map(images.batch, own)


def blank(spec: DatasetSpec, images: int, resolution: int) -> Split:
    """Return black images of class 0, as a loader would give them; some have any resolution."""
    pixels = spec.resolution or resolution
    shape = (images, pixels, pixels, spec.channels)
    black_NHWC = np.zeros(shape, np.dtype(spec.dtype))
    return Split(images_NHWC=black_NHWC, labels_N=np.zeros(images, np.int64))


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
    """Return the bytes of all images of a data set at a resolution."""
    images = dataset.train_images + dataset.val_images + dataset.test_images
    return images * dataset.channels * resolution**2 * dataset.bytes_per_value


def chunk_images(
    dataset: DatasetSpec, resolution: int, *, free_bytes: int | None, multiple: int
) -> int | None:
    """Return how many images of a split fit on the device at once; None if all do.

    The number is a multiple of the batch size. Each of the three splits gets a third of the memory.
    """
    if free_bytes is None or dataset_bytes(dataset, resolution) <= free_bytes * MEMORY_SHARE:
        return None
    image_bytes = dataset.channels * resolution**2 * dataset.bytes_per_value
    fitting = int(free_bytes * MEMORY_SHARE / 3 / image_bytes)
    return max(1, fitting // multiple) * multiple
