"""The transforms of the study's protocol, image by image: resize, repeat, scale, normalise.

The `eager` engine runs them with torchvision on PIL images. Faster engines must give the same
numbers and are checked against them.

    print(build_transform(MNIST, resolution=224, channels=3))
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from torch import Tensor
from torchvision import transforms

from cnnperf.catalog.specs import DatasetSpec
from cnnperf.errors import UsageError

Transform: TypeAlias = Callable[[Any], Tensor]
"""From a PIL image to a tensor (C, H, W)."""


def build_transform(spec: DatasetSpec, *, resolution: int, channels: int) -> Transform:
    """Return a transform that resizes, repeats grey images, scales to 0..1 and normalises.

    Resizing is torchvision's default for PIL images: bilinear, antialiased. It runs before the
    channels are repeated, which is a third of the work and gives the same bits.

    Args:
        spec: the data set.
        resolution: pixels a side of the model's input; images of this size are not resized.
        channels: channels of the model's input.

    Raises:
        UsageError: the data set cannot be converted to that many channels.
    """
    if channels != spec.channels and (spec.channels, channels) != (1, 3):
        raise UsageError(
            f"data set {spec.name} has {spec.channels} channels and cannot be fed as {channels}; "
            "only grey images can be repeated to 3 channels: choose another model or data set"
        )
    repeats = channels // spec.channels
    steps: list[Callable[[Any], Any]] = []
    if resolution != spec.resolution:
        steps.append(transforms.Resize((resolution, resolution)))
    if repeats > 1:
        steps.append(transforms.Grayscale(num_output_channels=channels))
    steps.append(transforms.ToTensor())
    steps.append(transforms.Normalize(spec.mean * repeats, spec.std * repeats))
    composed: Transform = transforms.Compose(steps)
    return composed
