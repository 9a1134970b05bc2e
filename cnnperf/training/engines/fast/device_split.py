"""One split of a data set on the device: batches are gathered and normalised there.

A DataLoader decodes, transforms and copies every image in every epoch. Here a split is copied once
as uint8, and a batch is a gather of rows. Normalised, it equals in every bit the tensors of
torchvision's `ToTensor` and `Normalize`. Its memory is allocated before the data set is read, so
that a CUDA graph can hold the address. A split that does not fit stays on the host and is copied in
chunks.

Shapes: N images of a split, M of a chunk, B of a batch, C channels, H W pixels, R pixels a side of
the model's input.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from cnnperf.catalog.specs import DatasetSpec
from cnnperf.training.data import Split
from cnnperf.training.engines.fast.resize import resize_exactly


class DeviceSplit:
    """One split on a device, whole or one chunk at a time.

    Args:
        spec: the data set, for its mean and deviation.
        images: N, the number of images.
        resolution: R, pixels a side of the model's input.
        channels: channels of the model's input; 3 repeat a grey image.
        device: the device.
        chunk_images: number of images on the device at a time; the default is all.
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
    ) -> None:
        self._images, self._channels = images, channels
        self.chunk_images = min(images, chunk_images or images)
        self.images_MRRC = torch.empty(
            self.chunk_images, resolution, resolution, spec.channels, dtype=torch.uint8,
            device=device,
        )  # fmt: skip
        self.labels_M = torch.empty(self.chunk_images, dtype=torch.int64, device=device)
        self._mean_C11 = torch.tensor(spec.mean, device=device).view(-1, 1, 1)
        # A tensor, because CUDA multiplies by the inverse of a plain number.
        self._255 = torch.tensor(255.0, device=device)
        self._std_C11 = torch.tensor(spec.std, device=device).view(-1, 1, 1)

    def __len__(self) -> int:
        return self._images

    @property
    def is_whole(self) -> bool:
        """Whether all images are on the device at once."""
        return self.chunk_images == self._images

    def fill_with_noise(self) -> None:
        """Fill with noise of class 0, for warm-up before the data set is read."""
        self.images_MRRC.random_(0, 256)
        self.labels_M.zero_()

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

    def chunks(self, order_N: torch.Tensor | None = None) -> Iterator[torch.Tensor]:
        """Copy all images to the device, chunk by chunk, and yield the rows (M) of each chunk.

        Args:
            order_N: rows of the split in the wanted order, on any device; the default is 0 to N-1.
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
        """Return images (B, C, R, R), float32, channels last in memory, and labels (B).

        Args:
            rows_B: rows of the chunk on the device.
        """
        return self._normalise(self.images_MRRC[rows_B]), self.labels_M[rows_B]

    def _normalise(self, images_BHWC: torch.Tensor) -> torch.Tensor:
        """Apply torchvision's operations in their order, which decides the rounding."""
        images_BCHW = images_BHWC.permute(0, 3, 1, 2).to(torch.float32).div_(self._255)
        images_BCHW = images_BCHW.sub_(self._mean_C11).div_(self._std_C11)
        return images_BCHW.expand(-1, self._channels, -1, -1)
