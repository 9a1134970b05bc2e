"""Count a model's parameters and floating-point operations (FLOPs), without computing anything.

FLOPs per image times images per second, divided by the device's peak, gives the share of the peak
that training reaches. Images per second alone cannot distinguish a slow device from a large model.

    python -c "from cnnperf.models import forward_flops_per_image as f; print(f('vgg16', 3, 224))"

One multiplication or one addition is 1 FLOP; a multiply-accumulate is 2. Only convolutions and
matrix products are counted (torch.utils.flop_counter). Norms, activations and the optimizer are
not; on these models they are about a hundredth or less.

Shapes: B batch, C channels, H W pixels, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode

from cnnperf.models.builder import ModelBuilder, build_model

BATCH = 2
"""Images counted together. In train mode, batch norm needs more than one value per channel."""


def count_parameters(module: nn.Module) -> int:
    """Count a module's parameters; shared ones count once, running statistics do not count."""
    return sum(parameter.numel() for parameter in module.parameters())


def forward_flops_per_image(
    model: str | ModelBuilder, in_channels: int, resolution: int, num_classes: int = 10
) -> int:
    """Count the FLOPs of one image's forward pass.

    Args:
        model: A registered name, or a builder as `ModelSpec.builder` describes it.
        in_channels: C of the images (B, C, H, W).
        resolution: H = W in pixels.
        num_classes: K, the number of logits.

    Returns:
        FLOPs per image, twice the number of multiply-accumulates.

    Raises:
        UsageError: `model` is a name, and the model does not accept the request.
    """
    with torch.device("meta"):
        module, images_BCHW, _ = build_with_batch(
            model, in_channels, resolution, num_classes, BATCH
        )
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            module(images_BCHW)
    return int(counter.get_total_flops()) // BATCH


def training_flops_per_image(
    model: str | ModelBuilder, in_channels: int, resolution: int, num_classes: int = 10
) -> int:
    """Count the FLOPs per image of a training step, forward and backward, without the optimizer.

    The count is a little less than three times the forward count: images need no gradient, so the
    first convolution has no backward pass to its input. Arguments and errors are those of
    `forward_flops_per_image`.
    """
    with torch.device("meta"):
        module, images_BCHW, labels_B = build_with_batch(
            model, in_channels, resolution, num_classes, BATCH
        )
        with FlopCounterMode(display=False) as counter:
            torch.autograd.backward(cross_entropy(module(images_BCHW), labels_B))
    return int(counter.get_total_flops()) // BATCH


def build_with_batch(
    model: str | ModelBuilder, in_channels: int, resolution: int, num_classes: int, batch_size: int
) -> tuple[nn.Module, Tensor, Tensor]:
    """Build a model in train mode, images (B, C, H, W) and labels (B).

    Call it under `torch.device("meta")`, where tensors have a shape but no values.
    """
    if isinstance(model, str):
        module = build_model(model, num_classes, in_channels, resolution)
    else:
        module = model(num_classes=num_classes, in_channels=in_channels, resolution=resolution)
    images_BCHW = torch.empty(batch_size, in_channels, resolution, resolution)
    return module.train(), images_BCHW, torch.zeros(batch_size, dtype=torch.long)
