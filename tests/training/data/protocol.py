"""The transforms of the protocol, as torchvision alone would make them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from PIL import Image
from torchvision import transforms as tv

from cnnperf.catalog.datasets import CIFAR10, MNIST
from cnnperf.catalog.specs import DatasetSpec

PROTOCOL: list[tuple[DatasetSpec, int, int, Callable[[Image.Image], torch.Tensor]]] = [
    (MNIST, 28, 1, tv.Compose([tv.ToTensor(), tv.Normalize((0.1307,), (0.3081,))])),
    (
        MNIST,
        224,
        3,
        tv.Compose(
            [
                tv.Grayscale(num_output_channels=3),
                tv.Resize((224, 224)),
                tv.ToTensor(),
                tv.Normalize((0.1307, 0.1307, 0.1307), (0.3081, 0.3081, 0.3081)),
            ]
        ),
    ),
    (
        CIFAR10,
        28,
        3,
        tv.Compose(
            [
                tv.Resize((28, 28)),
                tv.ToTensor(),
                tv.Normalize((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
            ]
        ),
    ),
]
"""The report's inputs, as a tutorial would write them: channels repeated before resizing."""
PROTOCOL_IDS = ["mnist-28", "mnist-224", "cifar10-28"]
