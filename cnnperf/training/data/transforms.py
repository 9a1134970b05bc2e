"""The transforms of the study's protocol, by torchvision, on PIL images one by one.

They resize, repeat, scale and normalise. Faster engines must give the same numbers and are checked
against them. Only engines with a DataLoader import this module: torchvision takes a second.

Shapes: H W pixels, C channels.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor
from torchvision import transforms

from cnnperf.catalog.specs import DatasetSpec
from cnnperf.errors import UsageError
from cnnperf.training.data.loaders import Transform, is_pil
from cnnperf.training.data.resize import resize_exactly


def build_transform(spec: DatasetSpec, *, resolution: int, channels: int) -> Transform:
    """Return a transform that resizes, repeats grey images, scales to 0..1 and normalises.

    Resizing is torchvision's default for PIL images: bilinear, antialiased. It runs before the
    channels are repeated, which is a third of the work and gives the same bits. Images that have
    the resolution (pixels a side) are not resized.

    Raises:
        UsageError: the data set cannot be converted to that many channels.
    """
    if channels != spec.channels and (spec.channels, channels) != (1, 3):
        raise UsageError(
            f"data set {spec.name} has {spec.channels} channels and cannot be fed as {channels}; "
            "only grey images can be repeated to 3 channels: choose another model or data set"
        )
    if spec.mean is None or spec.std is None:
        raise ValueError("the normalisation is not measured yet; see with_normalisation")
    repeats = channels // spec.channels
    normalise = transforms.Normalize(spec.mean * repeats, spec.std * repeats)
    resizes = resolution != spec.resolution
    steps: list[Callable[[Any], Any]] = []
    if not is_pil(spec.dtype, spec.channels):
        if resizes:
            steps.append(partial(_resize_array, resolution=resolution))
        steps += [transforms.ToTensor(), _Repeat(repeats), normalise]
        return cast(Transform, transforms.Compose(steps))
    if resizes:
        steps.append(transforms.Resize((resolution, resolution)))
    if repeats > 1:
        steps.append(transforms.Grayscale(num_output_channels=channels))
    return cast(Transform, transforms.Compose([*steps, transforms.ToTensor(), normalise]))


def _resize_array(image_HWC: Any, resolution: int) -> Any:
    return resize_exactly(torch.from_numpy(image_HWC)[None], resolution)[0].numpy()


class _Repeat:
    """Repeat a grey image (1, H, W) as so many channels."""

    def __init__(self, times: int) -> None:
        self._times = times

    def __call__(self, image_CHW: Tensor) -> Tensor:
        return image_CHW.repeat(self._times, 1, 1)
