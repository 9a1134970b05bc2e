"""Parameters and arithmetic, against published figures and figures worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from cnnperf.catalog.cases import BUILTIN_CASES, BUILTIN_COSTS, Cost
from cnnperf.catalog.registry import get_dataset, get_model, input_channels
from cnnperf.models import (
    ModelBuilder,
    build_model,
    count_parameters,
    forward_flops_per_image,
    training_flops_per_image,
)
from cnnperf.models.cost import convolution_backward_flops
from cnnperf.models.vgg import build_modified_vgg
from tests.models.helpers import NAMES


@pytest.mark.parametrize(
    ("name", "gmac"),
    [("vgg16", 15.47), ("resnet34", 3.66), ("modified_vgg", 0.029), ("modified_resnet", 0.207)],
)
def test_forward_arithmetic_agrees_with_published_figures(name: str, gmac: float) -> None:
    """Multiply-accumulates are half the FLOPs; every figure holds to its last digit."""
    spec = get_model(name)
    flops = forward_flops_per_image(name, spec.channels[0], spec.resolution)
    digits = len(str(gmac).split(".")[1])
    assert round(flops / 2 / 1e9, digits) == gmac


def test_the_table_of_costs_has_what_is_counted_for_every_builtin_case() -> None:
    """`cnnperf list` shows the table, because counting needs torch and takes seconds."""
    counted = {}
    for case in BUILTIN_CASES:
        spec, dataset = get_model(case.model), get_dataset(case.dataset)
        channels = input_channels(spec, dataset)
        assert (case.resolution, dataset.num_classes) == (spec.resolution, 10)
        counted[case.model, channels] = Cost(0, 0, 0)
    for name, channels in counted:
        shape = (name, channels, get_model(name).resolution)
        with torch.device("meta"):
            parameters = count_parameters(build_model(name, in_channels=channels))
        counted[name, channels] = Cost(
            parameters, forward_flops_per_image(*shape), training_flops_per_image(*shape)
        )
    assert counted == BUILTIN_COSTS


def test_forward_arithmetic_of_the_modified_vgg_agrees_with_a_count_by_hand() -> None:
    """A convolution does in * out * 9 multiply-accumulates at each pixel; pools halve the sides."""
    macs = (1 * 32 + 32 * 32) * 9 * 28**2
    macs += (32 * 64 + 64 * 64) * 9 * 14**2
    macs += (64 * 128 + 128 * 128) * 9 * 7**2
    macs += 1152 * 256 + 256 * 10
    assert forward_flops_per_image("modified_vgg", 1, 28) == 2 * macs


@pytest.mark.parametrize(
    ("name", "first_macs"),
    [
        ("vgg16", 3 * 64 * 9 * 224**2),
        ("resnet34", 3 * 64 * 49 * 112**2),
        ("modified_vgg", 1 * 32 * 9 * 28**2),
        ("modified_resnet", 1 * 64 * 9 * 28**2),
    ],
)
def test_training_flops_are_three_forwards_minus_the_gradient_of_images(
    name: str, first_macs: int
) -> None:
    """Each layer differentiates to its weights and its input; the images need no gradient."""
    spec = get_model(name)
    arguments = (name, spec.channels[0], spec.resolution)
    forward, training = forward_flops_per_image(*arguments), training_flops_per_image(*arguments)
    assert training == 3 * forward - 2 * first_macs


def test_a_builder_is_counted_like_the_name_it_is_registered_under() -> None:
    """Both the forward pass and training; more classes cost a wider last layer."""
    for count in (forward_flops_per_image, training_flops_per_image):
        assert count(build_modified_vgg, 3, 28) == count("modified_vgg", 3, 28)
    wider = forward_flops_per_image("modified_vgg", 3, 28, 100)
    assert wider - forward_flops_per_image("modified_vgg", 3, 28) == 2 * 256 * 90


def test_counting_leaves_the_random_state_alone() -> None:
    """Whether a run counts its FLOPs must not change what it learns."""
    before = torch.get_rng_state()
    training_flops_per_image("modified_vgg", 1, 28)
    forward_flops_per_image("modified_resnet", 1, 28)
    assert torch.equal(torch.get_rng_state(), before)


def test_parameters_are_counted_once_and_buffers_not() -> None:
    """A linear layer used twice and a batch norm with its three buffers: 4 * 4 + 4, and 2 * 4."""
    shared = nn.Linear(4, 4)
    assert count_parameters(nn.Sequential(shared, nn.BatchNorm1d(4), shared)) == 20 + 8


def conv(transposed: bool, groups: int, bias: bool = False) -> ModelBuilder:
    """Two layers of 3 x 3, of which the second has groups, for 8 x 8 pixels."""

    def build(*, num_classes: int, in_channels: int, resolution: int) -> nn.Module:
        kind = nn.ConvTranspose2d if transposed else nn.Conv2d
        second = kind(12, 6, 3, stride=2, padding=1, groups=groups, bias=bias)
        pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        return nn.Sequential(nn.Conv2d(in_channels, 12, 3, padding=1, bias=bias), second, pool)

    return build


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("groups", [1, 2, 6])
def test_grouped_convolutions_agree_with_a_count_by_hand(groups: int, transposed: bool) -> None:
    """A weight meets only its group: at 4 x 4 results or, transposed, at 8 x 8 inputs."""
    first = 3 * 12 * 9 * 8 * 8
    second = 12 * 6 // groups * 9 * (8 * 8 if transposed else 4 * 4)
    for bias in (False, True):
        arguments = (conv(transposed, groups, bias), 3, 8)
        assert forward_flops_per_image(*arguments) == 2 * (first + second)
        assert training_flops_per_image(*arguments) == 2 * (2 * first + 3 * second)


def test_depthwise_convolutions_of_any_dimension_agree_with_a_count_by_hand() -> None:
    """Of MobileNet's kind, a multiplier of 2, and one that differentiates only its weight."""
    arguments = (torch.empty(1, device="meta"),) * 4
    for dims in (1, 2, 3):
        pixels, kernel = 5**dims, 3**dims
        shapes = [4, 16, *(5,) * dims], [4, 8, *(5,) * dims], [16, 1, *(3,) * dims]
        for mask, gradients in (((True, True, True), 2), ((False, True, True), 1)):
            found = convolution_backward_flops(*shapes, *arguments, False, [0], 8, mask)
            assert found == 2 * gradients * 4 * pixels * 16 * kernel


TORCHVISION = ("mobilenet_v3_small", "mobilenet_v2", "resnext50_32x4d", "shufflenet_v2_x1_0",
               "efficientnet_b0", "convnext_tiny", "mnasnet0_5",
               "densenet121", "squeezenet1_0", "vit_b_16")  # fmt: skip


def from_torchvision(name: str) -> ModelBuilder:
    """A builder of torchvision's model."""

    def build(*, num_classes: int, in_channels: int, resolution: int) -> nn.Module:
        module: nn.Module = torchvision.models.get_model(name, num_classes=num_classes)
        return module

    return build


@pytest.mark.parametrize("name", [*NAMES, *TORCHVISION])
def test_a_training_step_costs_two_to_three_forward_passes(name: str) -> None:
    """Grouped convolutions included; torch's own formula makes it 29 for mobilenet_v3_small."""
    if name in NAMES:
        spec = get_model(name)
        arguments: tuple[Any, ...] = (name, spec.channels[0], spec.resolution)
    else:
        arguments = (from_torchvision(name), 3, 224)
    forward, training = forward_flops_per_image(*arguments), training_flops_per_image(*arguments)
    assert 2 <= training / forward <= 3.2


def test_mobilenet_agrees_with_its_published_figure() -> None:
    """0.06 GFLOPS, as torchvision's page of models counts multiply-accumulates."""
    mobilenet = from_torchvision("mobilenet_v3_small")
    assert round(forward_flops_per_image(mobilenet, 3, 224, 1000) / 2e9, 2) == 0.06
    assert forward_flops_per_image(mobilenet, 3, 64) / 1e6 == pytest.approx(11.0, abs=0.01)
    assert training_flops_per_image(mobilenet, 3, 64) / 1e6 == pytest.approx(32.1, abs=0.05)
