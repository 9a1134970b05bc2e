"""What several tests of the models need: their names, and torchvision's counterparts.

Shapes: B batch, C channels, H W pixels, K classes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock as TorchvisionBlock
from torchvision.models.vgg import make_layers

NAMES = ("vgg16", "resnet34", "modified_vgg", "modified_resnet")
CLASSES = 10


def torchvision_modified_vgg() -> nn.Module:
    """The modified VGG put together from torchvision's parts, for 3 x 28 x 28."""
    features = make_layers([32, 32, "M", 64, 64, "M", 128, 128, "M"], batch_norm=True)
    model = torchvision.models.VGG(features, num_classes=CLASSES, init_weights=False)
    model.avgpool = nn.Identity()
    model.classifier = nn.Sequential(
        nn.Linear(1152, 256), nn.ReLU(), nn.Dropout(0.5), nn.Linear(256, CLASSES)
    )
    return model


def torchvision_modified_resnet() -> nn.Module:
    """The modified ResNet put together from torchvision's parts."""
    model = torchvision.models.ResNet(TorchvisionBlock, [1, 1, 1, 1], num_classes=CLASSES)
    model.conv1 = nn.Conv2d(3, 64, kernel_size=3, padding=1, bias=False)
    model.maxpool = nn.Identity()
    return model


REFERENCES: dict[str, Callable[[], nn.Module]] = {
    "vgg16": lambda: torchvision.models.vgg16_bn(num_classes=CLASSES),
    "resnet34": lambda: torchvision.models.resnet34(num_classes=CLASSES),
    "modified_vgg": torchvision_modified_vgg,
    "modified_resnet": torchvision_modified_resnet,
}


def evaluate(model: nn.Module, images_BCHW: Tensor) -> Tensor:
    with torch.no_grad():
        logits_BK: Tensor = model.eval()(images_BCHW)
    return logits_BK
