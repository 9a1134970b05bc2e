"""Counts a model's parameters and arithmetic without running it on data.

Images per second alone cannot say whether a device is slow or a model large. Divided into the
arithmetic an image needs, they give the share of the device's peak that training reaches.

    python -c "from cnnperf.models import forward_flops_per_image as f; print(f('vgg16', 3, 224))"

A FLOP is one multiplication or one addition, so a multiply-accumulate is 2. Only convolutions and
matrix products are counted (torch.utils.flop_counter); norms, activations and the optimizer are
not, which on these models leaves out about a hundredth or less.

Shapes: B batch, C channels, H W pixels, K classes.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode

from cnnperf.models.build import ModelBuilder, build_model

BATCH = 2
"""Images counted at once: batch norm in train mode refuses one value per channel."""


def count_parameters(module: nn.Module) -> int:
    """Count a module's parameters, each shared one once; running statistics are none."""
    return sum(parameter.numel() for parameter in module.parameters())


def forward_flops_per_image(
    model: str | ModelBuilder, in_channels: int, resolution: int, num_classes: int = 10
) -> int:
    """Count the FLOPs of one image's way to its logits.

    Args:
        model: A registered name, or a builder as `ModelSpec.builder` describes it.
        in_channels: C of the images (B, C, H, W).
        resolution: H = W in pixels.
        num_classes: K, the width of the logits.

    Returns:
        FLOPs per image; half of it is the multiply-accumulates per image.

    Raises:
        UsageError: `model` is a name, and the model cannot take what was asked for.
    """
    with torch.device("meta"):
        module = build_on_meta(model, in_channels, resolution, num_classes)
        images_BCHW = torch.empty(BATCH, in_channels, resolution, resolution)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            module(images_BCHW)
    flops: int = counter.get_total_flops()
    return flops // BATCH


def training_flops_per_image(
    model: str | ModelBuilder, in_channels: int, resolution: int, num_classes: int = 10
) -> int:
    """Count the FLOPs of one image's share of a training step: forward and backward.

    It is a little less than three times the forward count: images need no gradient, so the first
    convolution has no backward pass to its input.

    Args:
        model: A registered name, or a builder as `ModelSpec.builder` describes it.
        in_channels: C of the images (B, C, H, W).
        resolution: H = W in pixels.
        num_classes: K, the width of the logits.

    Returns:
        FLOPs per image, without those of the optimizer.

    Raises:
        UsageError: `model` is a name, and the model cannot take what was asked for.
    """
    # On the meta device tensors have shapes but no values: nothing is computed or stored.
    with torch.device("meta"):
        module = build_on_meta(model, in_channels, resolution, num_classes).train()
        images_BCHW = torch.empty(BATCH, in_channels, resolution, resolution)
        labels_B = torch.zeros(BATCH, dtype=torch.long)
        with FlopCounterMode(display=False) as counter:
            torch.autograd.backward(cross_entropy(module(images_BCHW), labels_B))
    flops: int = counter.get_total_flops()
    return flops // BATCH


def build_on_meta(
    model: str | ModelBuilder, in_channels: int, resolution: int, num_classes: int
) -> nn.Module:
    """Build from a name or with a builder; inside of `torch.device("meta")` nothing is stored."""
    if isinstance(model, str):
        return build_model(model, num_classes, in_channels, resolution)
    return model(num_classes=num_classes, in_channels=in_channels, resolution=resolution)
