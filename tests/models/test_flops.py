"""Parameters and arithmetic, against published figures and figures worked out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cnnperf.catalog.registry import get_model
from cnnperf.models import count_parameters, forward_flops_per_image, training_flops_per_image
from cnnperf.models.vgg import build_modified_vgg


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
