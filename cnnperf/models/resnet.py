"""Residual networks of basic blocks: `resnet34` and the study's small `modified_resnet`.

ResNet34 does a quarter of VGG16's arithmetic in twice as many, smaller layers, so launch costs and
memory traffic matter more. The modified network keeps the four widths, with one block each.

    python -c "from cnnperf.models import build_model; print(build_model('modified_resnet'))"

Shapes: B batch, C channels into a module, D channels out of it, H W pixels in, h w pixels out,
K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cnnperf.models.builder import initialise

STAGE_WIDTHS = (64, 128, 256, 512)
"""Channels of the four stages (He et al. 2015, arXiv:1512.03385, table 1)."""
STAGE_STRIDES = (1, 2, 2, 2)
"""Stride of each stage's first block; 2 halves the sides."""
RESNET34_BLOCKS = (3, 4, 6, 3)
"""Basic blocks per stage (He et al. 2015, table 1, the 34-layer column)."""


class BasicBlock(nn.Module):
    """Add the result of two 3x3 convolutions to their input (He et al. 2015, figure 5)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            _convolution(in_channels, out_channels, kernel_size=3, stride=stride),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            _convolution(out_channels, out_channels, kernel_size=3, stride=1),
            nn.BatchNorm2d(out_channels),
        )
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != out_channels or stride != 1:
            self.shortcut = nn.Sequential(
                _convolution(in_channels, out_channels, kernel_size=1, stride=stride),
                nn.BatchNorm2d(out_channels),
            )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, features_BCHW: Tensor) -> Tensor:
        """Map features (B, C, H, W) to (B, D, h, w)."""
        features_BDhw: Tensor = self.residual(features_BCHW)
        # In place, to save memory: no backward formula reads the batch norm's output.
        features_BDhw += self.shortcut(features_BCHW)
        activations_BDhw: Tensor = self.relu(features_BDhw)
        return activations_BDhw


class ResNet(nn.Module):
    """A stem, four stages of basic blocks, a global average pool and one linear layer."""

    def __init__(
        self, stem: nn.Sequential, stage_blocks: tuple[int, ...], num_classes: int
    ) -> None:
        super().__init__()
        self.stem = stem
        self.stages = nn.Sequential(*_stages(stage_blocks))
        self.pool = nn.AdaptiveAvgPool2d(1)
        # Like torchvision, keep PyTorch's first weights, uniform within 1 / sqrt(512).
        self.classifier = nn.Linear(STAGE_WIDTHS[-1], num_classes)
        initialise(self, linears=False)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, K)."""
        features_BDhw = self.stages(self.stem(images_BCHW))
        features_BD = torch.flatten(self.pool(features_BDhw), 1)
        logits_BK: Tensor = self.classifier(features_BD)
        return logits_BK


def build_resnet34(
    *,
    num_classes: int,
    in_channels: int,
    resolution: int,  # noqa: ARG001 - all builders get it; the global average takes any size
) -> ResNet:
    """Build ResNet34 (He et al. 2015, arXiv:1512.03385, table 1).

    Where a stage changes the shape, the shortcut is a 1x1 convolution with batch norm (the
    paper's option B).
    """
    stem = nn.Sequential(
        *_stem(in_channels, kernel_size=7, stride=2),
        nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
    )
    return ResNet(stem, RESNET34_BLOCKS, num_classes)


def build_modified_resnet(
    *,
    num_classes: int,
    in_channels: int,
    resolution: int,  # noqa: ARG001 - all builders get it; the global average takes any size
) -> ResNet:
    """Build the study's modified ResNet: a 3x3 stem without max pool, one block per stage.

    The study specifies one residual block per stage, a 3x3 stem "with a smaller stride", and no
    first max pool. The stride of 1 and the four widths of ResNet34 are our reading.
    """
    stem = nn.Sequential(*_stem(in_channels, kernel_size=3, stride=1))
    return ResNet(stem, (1, 1, 1, 1), num_classes)


def _convolution(
    in_channels: int, out_channels: int, *, kernel_size: int, stride: int
) -> nn.Conv2d:
    """Return a convolution that keeps the size at stride 1; batch norm supplies the bias."""
    return nn.Conv2d(
        in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=False
    )


def _stem(in_channels: int, *, kernel_size: int, stride: int) -> list[nn.Module]:
    width = STAGE_WIDTHS[0]
    convolution = _convolution(in_channels, width, kernel_size=kernel_size, stride=stride)
    return [convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]


def _stages(stage_blocks: tuple[int, ...]) -> list[nn.Module]:
    stages: list[nn.Module] = []
    in_channels = STAGE_WIDTHS[0]
    for count, width, stride in zip(stage_blocks, STAGE_WIDTHS, STAGE_STRIDES, strict=True):
        rest = [BasicBlock(width, width, stride=1) for _ in range(count - 1)]
        stages.append(nn.Sequential(BasicBlock(in_channels, width, stride), *rest))
        in_channels = width
    return stages
