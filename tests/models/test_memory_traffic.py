"""The least that training moves, against counts by hand and against moving everything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from cnnperf.catalog.registry import get_model
from cnnperf.models import build_model, count_traffic

PIXELS = 4


def _builder(*layers: Callable[[], nn.Module]) -> Callable[..., nn.Module]:
    def build(**_: int) -> nn.Module:
        return nn.Sequential(*(layer() for layer in layers))

    return build


def _convolution(before: int, after: int) -> Callable[[], nn.Module]:
    return lambda: nn.Conv2d(before, after, 3, padding=1, bias=False)


def _linear(features: int) -> Callable[[], nn.Module]:
    return lambda: nn.Linear(features, 3, bias=False)


def test_a_convolution_a_relu_and_a_linear_layer_agree_with_a_count_by_hand() -> None:
    """Images of 1 x 4 x 4, 4 maps, 64 features, 3 classes; images themselves are not counted."""
    maps, weights, matrix, logits = 4 * 16, 4 * 9, 64 * 3, 3
    found = count_traffic(
        _builder(_convolution(1, 4), nn.ReLU, nn.Flatten, _linear(64)), 1, PIXELS, 3
    )

    forward_image = maps + (maps + logits)  # written; read by the linear layer, which writes
    assert found.forward_elements_per_image == forward_image
    assert found.forward_elements_per_pass == weights + matrix

    to_features = logits + maps  # the gradient of the logits is read, that of the maps written
    to_matrix = logits + maps  # both are read
    to_weights = maps  # read; the image gets no gradient
    assert found.training_elements_per_image == forward_image + to_features + to_matrix + to_weights
    assert found.training_elements_per_step == (weights + matrix) + (matrix + matrix) + weights
    assert found.largest_elements_per_image == maps


def test_a_second_convolution_reads_what_its_two_gradients_share_once() -> None:
    """It reads weight, input and gradient, and writes two gradients."""
    one = count_traffic(_builder(_convolution(1, 4), nn.Flatten, _linear(64)), 1, PIXELS, 3)
    two = count_traffic(
        _builder(_convolution(1, 4), _convolution(4, 4), nn.Flatten, _linear(64)), 1, PIXELS, 3
    )
    maps, weights = 4 * 16, 4 * 4 * 9
    forward, backward = maps + maps, maps + maps + maps
    assert two.training_elements_per_image - one.training_elements_per_image == forward + backward
    assert two.training_elements_per_step - one.training_elements_per_step == 3 * weights


@pytest.mark.parametrize("fused", [nn.ReLU, nn.Dropout, nn.GELU, lambda: nn.ReLU(inplace=True)])
def test_fusible_operators_move_nothing(fused: Callable[[], nn.Module]) -> None:
    """Forward and backward."""
    plain = _builder(_convolution(1, 4), nn.Flatten, _linear(64))
    with_it = _builder(_convolution(1, 4), fused, nn.Flatten, _linear(64))
    assert count_traffic(with_it, 1, PIXELS, 3) == count_traffic(plain, 1, PIXELS, 3)


def test_a_batch_norm_reads_its_input_once_more_in_its_gradient() -> None:
    """Sums over the whole batch come before the first value."""
    plain = count_traffic(_builder(_convolution(1, 4), nn.Flatten, _linear(64)), 1, PIXELS, 3)
    normed = count_traffic(
        _builder(_convolution(1, 4), lambda: nn.BatchNorm2d(4), nn.Flatten, _linear(64)),
        1, PIXELS, 3,
    )  # fmt: skip
    assert normed.forward_elements_per_image == plain.forward_elements_per_image
    assert normed.training_elements_per_image == plain.training_elements_per_image + 4 * 16


@pytest.mark.parametrize(
    ("pooling", "gradient"),
    [(lambda: nn.MaxPool2d(2), 64), (lambda: nn.AvgPool2d(2), 64),
     (lambda: nn.AdaptiveAvgPool2d(2), 64)],
)  # fmt: skip
def test_a_pooling_is_a_kernel_of_its_own(pooling: Callable[[], nn.Module], gradient: int) -> None:
    """It reads 64 and writes 16; backward the other way round; 48 fewer features follow."""
    plain = count_traffic(_builder(_convolution(1, 4), nn.Flatten, _linear(64)), 1, PIXELS, 3)
    pooled = count_traffic(
        _builder(_convolution(1, 4), pooling, nn.Flatten, _linear(16)), 1, PIXELS, 3
    )
    forward = pooled.forward_elements_per_image - plain.forward_elements_per_image
    assert forward == (64 + 16) - 48
    training = pooled.training_elements_per_image - plain.training_elements_per_image
    assert training == forward + (16 + gradient) - 2 * 48


class _Residual(nn.Module):
    def __init__(self, adds: bool) -> None:
        super().__init__()
        self.stem, self.branch = _convolution(1, 4)(), _convolution(4, 4)()
        self.linear, self.adds = _linear(64)(), adds

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        stem = self.stem(images)
        found = self.branch(stem)
        logits: torch.Tensor = self.linear((found + stem if self.adds else found).flatten(1))
        return logits


def test_a_shortcut_is_read_once_and_so_is_its_gradient() -> None:
    """The sum's second tensor, and the gradient that meets the branch's."""
    with_it, without = (
        count_traffic(lambda adds=adds, **_: _Residual(adds), 1, PIXELS, 3)
        for adds in (True, False)
    )
    assert with_it.forward_elements_per_image == without.forward_elements_per_image + 64
    assert with_it.training_elements_per_image == without.training_elements_per_image + 2 * 64


class _Everything(TorchDispatchMode):
    """Every operator reads all its tensors and writes all its results, as without any fusing."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for each in tree_iter((args, result)):
            self.elements += each.numel() if isinstance(each, torch.Tensor) else 0
        return result


@pytest.mark.parametrize("name", ["vgg16", "resnet34", "modified_vgg", "modified_resnet"])
def test_lower_bound_is_below_plain_execution_but_of_the_same_order(name: str) -> None:
    """A lower bound that is far too low would be of no use: it is a fifth of it at least."""
    spec = get_model(name)
    channels, pixels, batch = spec.channels[0], spec.resolution, 8
    found = count_traffic(name, channels, pixels)
    with torch.device("meta"):
        model = build_model(name, 10, channels, pixels)
        images, labels = torch.empty(batch, channels, pixels, pixels), torch.zeros(batch).long()
        with _Everything() as everything:
            cross_entropy(model(images), labels).backward()
    least = batch * found.training_elements_per_image + found.training_elements_per_step
    assert 0.2 * everything.elements < least < everything.elements


def test_the_modified_vggs_forward_pass_agrees_with_a_count_by_hand() -> None:
    """Forward: each convolution's result, what it reads, and what each pooling moves."""
    results = [32 * 784, 32 * 784, 64 * 196, 64 * 196, 128 * 49, 128 * 49]
    pooled = [32 * 196, 64 * 49, 128 * 9]
    inputs = [results[0], pooled[0], results[2], pooled[1], results[4]]  # the first reads images
    pooling = results[1] + pooled[0] + results[3] + pooled[1] + results[5] + pooled[2]
    linear = 1152 + 256 + 256 + 10
    found = count_traffic("modified_vgg", 1, 28)
    assert found.forward_elements_per_image == sum(results) + sum(inputs) + pooling + linear
