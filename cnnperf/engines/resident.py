"""Images that stay on the device as bytes: gathered, scaled and normalised there, batch by batch.

Torch half. A DataLoader decodes, transforms and copies every image in every epoch. Here a split is
copied once, as uint8, and a batch is a gather of rows; normalising it gives, bit for bit, the
tensors that torchvision's `ToTensor` and `Normalize` give.

Shapes: `N` images of a split, `B` of a batch, `C` channels, `H W` pixels.
"""

from __future__ import annotations

import torch

from cnnperf.data import Split
from cnnperf.engines.resize import resize_exactly
from cnnperf.specs import DatasetSpec


class ResidentSplit:
    """One split on a device.

    Args:
        split: pixels and labels as they were read.
        spec: the data set, for its mean and deviation.
        resolution: pixels a side that the model is fed.
        channels: that the model is fed; a grey image is repeated where they are 3.
        device: where to keep it.
    """

    def __init__(
        self,
        split: Split,
        spec: DatasetSpec,
        *,
        resolution: int,
        channels: int,
        device: torch.device,
    ) -> None:
        images_NHWC = torch.as_tensor(split.images_NHWC).to(device)
        self.images_NHWC = resize_exactly(images_NHWC, resolution)
        self.labels_N = torch.as_tensor(split.labels_N).to(device)
        self._channels = channels
        self._mean_C11 = torch.tensor(spec.mean, device=device).view(-1, 1, 1)
        self._std_C11 = torch.tensor(spec.std, device=device).view(-1, 1, 1)

    def __len__(self) -> int:
        return len(self.labels_N)

    def batch(self, rows_B: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Images (B, C, H, W), float32, channels last in memory, and labels (B)."""
        return self._normalise(self.images_NHWC[rows_B]), self.labels_N[rows_B]

    def slice(self, start: int, stop: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The same for consecutive images, in the order of the split."""
        return self._normalise(self.images_NHWC[start:stop]), self.labels_N[start:stop]

    def _normalise(self, images_BHWC: torch.Tensor) -> torch.Tensor:
        """In the order of torchvision's own operations: rounding depends on it."""
        images_BCHW = images_BHWC.permute(0, 3, 1, 2).to(torch.float32).div_(255)
        images_BCHW = images_BCHW.sub_(self._mean_C11).div_(self._std_C11)
        return images_BCHW.expand(-1, self._channels, -1, -1)
