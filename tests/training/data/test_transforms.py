"""What becomes of an image on its way to a model.

Shapes: H W pixels, C channels.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytest.importorskip("torch", reason="the torch half is tested where torch is installed")

import numpy as np
import torch
from PIL import Image
from torchvision import transforms

from cnnperf.catalog.datasets import CIFAR10, DIGITS, MNIST
from cnnperf.catalog.specs import DatasetSpec
from cnnperf.errors import UsageError
from cnnperf.training.data.transforms import build_transform
from tests.training.data.handmade import noise
from tests.training.data.protocol import PROTOCOL, PROTOCOL_IDS


def pil_images(spec: DatasetSpec, count: int = 3) -> list[Image.Image]:
    size = (spec.resolution, spec.resolution)
    shape = (count, *size) if spec.channels == 1 else (count, *size, spec.channels)
    return [Image.fromarray(image) for image in noise(*shape, seed=4)]


@pytest.mark.parametrize(("spec", "resolution", "channels", "by_hand"), PROTOCOL, ids=PROTOCOL_IDS)
def test_transforms_give_the_bits_of_the_protocol_written_by_hand(
    spec: DatasetSpec,
    resolution: int,
    channels: int,
    by_hand: Callable[[Image.Image], torch.Tensor],
) -> None:
    """Resizing before or after repeating the grey channel makes no difference, to the bit."""
    transform = build_transform(spec, resolution=resolution, channels=channels)
    for image in pil_images(spec):
        ours = transform(image)
        assert ours.shape == (channels, resolution, resolution)
        assert ours.dtype == torch.float32
        assert torch.equal(ours, by_hand(image))


def test_normalising_is_subtracting_the_mean_and_dividing_by_the_deviation() -> None:
    """Worked out in numpy, without torchvision."""
    image = pil_images(CIFAR10, 1)[0]
    ours = build_transform(CIFAR10, resolution=32, channels=3)(image)
    expected_HWC = (np.asarray(image) / 255 - CIFAR10.mean) / CIFAR10.std
    assert np.allclose(ours.numpy(), expected_HWC.transpose(2, 0, 1), atol=1e-6)


@pytest.mark.parametrize("spec", [DIGITS, MNIST, CIFAR10], ids=lambda spec: spec.name)
def test_nothing_is_resized_at_the_data_sets_own_resolution(spec: DatasetSpec) -> None:
    """No such step is there to be asked, image by image; at one pixel more there is.

    Pixels cannot tell: resizing to the same size leaves them as they are.
    """
    own, larger = (
        build_transform(spec, resolution=pixels, channels=spec.channels)
        for pixels in (spec.resolution, spec.resolution + 1)
    )
    assert not any(isinstance(step, transforms.Resize) for step in own.transforms)
    assert any(isinstance(step, transforms.Resize) for step in larger.transforms)


@pytest.mark.parametrize(("spec", "channels"), [(CIFAR10, 1), (MNIST, 4)])
def test_impossible_channels_are_an_error(spec: DatasetSpec, channels: int) -> None:
    """Colour is not thrown away silently."""
    with pytest.raises(UsageError) as error:
        build_transform(spec, resolution=28, channels=channels)
    assert f"data set {spec.name} has {spec.channels} channels" in str(error.value)
    assert f"cannot be fed as {channels}" in str(error.value)
