"""What happens to an image before a model sees it: the report's protocol, image by image.

The `eager` engine runs this as a careful user would write it, with torchvision on PIL images;
faster engines must give the same numbers, so this is also what they are checked against.

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
"""From a PIL image to a tensor of shape C, H, W."""


def build_transform(spec: DatasetSpec, *, resolution: int, channels: int) -> Transform:
    """Resize, repeat a grey image for each channel, scale to 0..1 and normalise.

    Resizing is torchvision's default for PIL images: bilinear, antialiased. It comes before
    repeating, where it is a third of the work and gives the same bits.

    Args:
        spec: the data set.
        resolution: pixels a side that the model is fed; equal to the data set's, nothing is
            resized.
        channels: that the model is fed.

    Raises:
        UsageError: the data set cannot be had in that many channels.
    """
    repeats = _repeats(spec, channels)
    steps: list[Callable[[Any], Any]] = []
    if resolution != spec.resolution:
        steps.append(transforms.Resize((resolution, resolution)))
    if repeats > 1:
        steps.append(transforms.Grayscale(num_output_channels=channels))
    steps.append(transforms.ToTensor())
    steps.append(transforms.Normalize(spec.mean * repeats, spec.std * repeats))
    composed: Transform = transforms.Compose(steps)
    return composed


def _repeats(spec: DatasetSpec, channels: int) -> int:
    """How often each channel of the data set is fed to the model."""
    if channels == spec.channels:
        return 1
    if (spec.channels, channels) == (1, 3):
        return 3
    raise UsageError(
        f"data set {spec.name} has {spec.channels} channels and cannot be fed as {channels}; "
        "only grey images can be turned into 3 channels: choose another model or data set"
    )
