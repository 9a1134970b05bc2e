"""VGG networks from a plan of their layers: `vgg16` and the study's small `modified_vgg`.

VGG16 is the heaviest case of the suite. Most of its work is in 3x3 convolutions and one very wide
linear layer, so it measures a busy device. The modified network has 230 times fewer parameters and
a 64th of the pixels, so it measures the overhead of a step.

    python -c "from cnnperf.models import build_model; print(build_model('modified_vgg'))"

Shapes: B batch, C input channels, H W pixels, D channels after the convolutions, h w pixels after
pooling, F = D * h * w flattened features, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from cnnperf.models.builder import initialise


@dataclass(frozen=True, kw_only=True, slots=True)
class VGGPlan:
    """The layers of a VGG network."""

    stages: tuple[tuple[int, ...], ...]
    """Output channels of each 3x3 convolution; each stage ends in a 2x2 max pool."""
    hidden_widths: tuple[int, ...]
    """Units of each hidden linear layer."""
    pooled_side: int | None = None
    """Pixels a side to which features are averaged; None leaves them unchanged."""
    dropout: float = 0.5
    """Probability of dropping a hidden unit in training."""

    def feature_side(self, resolution: int) -> int:
        """Return the pixels a side before flattening, for images of `resolution` pixels a side."""
        # Each pool rounds down; halving n times with rounding is one division by 2**n.
        return self.pooled_side or resolution // 2 ** len(self.stages)


CONFIGURATION_D = VGGPlan(
    stages=((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512)),
    hidden_widths=(4096, 4096),
    pooled_side=7,
)
"""Simonyan & Zisserman 2014, arXiv:1409.1556, table 1, column D."""

MODIFIED = VGGPlan(stages=((32, 32), (64, 64), (128, 128)), hidden_widths=(256,))
"""Our reading of the study's modified VGG; see `build_modified_vgg`."""


class VGG(nn.Module):
    """Stages of 3x3 convolutions, then linear layers on the flattened features."""

    def __init__(
        self, plan: VGGPlan, *, num_classes: int, in_channels: int, resolution: int
    ) -> None:
        super().__init__()
        features = plan.stages[-1][-1] * plan.feature_side(resolution) ** 2
        self.convolutions = nn.Sequential(*_convolutions(plan, in_channels))
        self.classifier = nn.Sequential(*_classifier(plan, features, num_classes))
        initialise(self, linears=True)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, K)."""
        features_BDhw = images_BCHW
        for layer in self.convolutions:
            if not _is_identity(layer, features_BDhw):
                features_BDhw = layer(features_BDhw)
        features_BF = torch.flatten(features_BDhw, 1)
        logits_BK: Tensor = self.classifier(features_BF)
        return logits_BK


def build_vgg16(*, num_classes: int, in_channels: int, resolution: int) -> VGG:
    """Build VGG16, configuration D of Simonyan & Zisserman 2014, arXiv:1409.1556.

    It differs from the paper in three ways. Batch norm follows each convolution: without it, Adam
    at 1e-3 does not train this depth reliably. An average pool to 7x7 allows images of 32 pixels or
    more (five pools halve them); at 224 pixels it is skipped because it changes nothing. The first
    weights are torchvision's.
    """
    return VGG(
        CONFIGURATION_D, num_classes=num_classes, in_channels=in_channels, resolution=resolution
    )


def build_modified_vgg(*, num_classes: int, in_channels: int, resolution: int) -> VGG:
    """Build the study's modified VGG as we read it: 32-32-M-64-64-M-128-128-M, 256, K.

    The study specifies only that the first convolution takes 1 channel, that the first width falls
    from 64 to 32, that there are fewer blocks, and that the first linear layer falls from 512 to
    256. Its figure with the exact layers is not available to us, so this reading is ours. So are
    the batch norm after each convolution and the dropout of 0.5 before the last layer.

    The resolution is 8 or more because three pools halve it. The module takes only images of this
    size: its first linear layer has 128 * (resolution // 8)**2 inputs, 1152 at 28 pixels.
    """
    return VGG(MODIFIED, num_classes=num_classes, in_channels=in_channels, resolution=resolution)


def _is_identity(layer: nn.Module, features_BDhw: Tensor) -> bool:
    """Return whether the layer is an average pool from its own output size.

    Such a pool is skipped because its backward pass is not deterministic on CUDA. It stays among
    the layers because the hash of the model in older records includes it.
    """
    return isinstance(layer, nn.AdaptiveAvgPool2d) and features_BDhw.shape[-2:] == (
        layer.output_size,
        layer.output_size,
    )


def _convolutions(plan: VGGPlan, in_channels: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for widths in plan.stages:
        for before, after in pairwise((in_channels, *widths)):
            # In place: for the backward pass, batch norm keeps its input, not its output.
            layers += [
                nn.Conv2d(before, after, kernel_size=3, padding=1),
                nn.BatchNorm2d(after),
                nn.ReLU(inplace=True),
            ]
        layers.append(nn.MaxPool2d(kernel_size=2))
        in_channels = widths[-1]
    if plan.pooled_side is not None:
        layers.append(nn.AdaptiveAvgPool2d(plan.pooled_side))
    return layers


def _classifier(plan: VGGPlan, features: int, num_classes: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    widths = (features, *plan.hidden_widths)
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU(inplace=True), nn.Dropout(plan.dropout)]
    return [*layers, nn.Linear(widths[-1], num_classes)]
