"""The weights that a model starts with, before any training."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats
from torch import nn

from cnnperf.models import build_model
from tests.models.helpers import NAMES, REFERENCES


@pytest.mark.parametrize("name", ["vgg16", "resnet34"])
def test_first_weights_are_drawn_from_torchvisions_distributions(name: str) -> None:
    """Per weight: equal spread within 5 % and no difference that Kolmogorov and Smirnov see."""
    torch.manual_seed(1)
    ours = build_model(name)
    torch.manual_seed(2)
    reference = REFERENCES[name]()
    pairs = zip(ours.parameters(), reference.parameters(), strict=True)
    for ours_first, reference_first in pairs:
        if ours_first.dim() == 1:
            continue
        sample, expected = (p.detach().flatten()[:50_000] for p in (ours_first, reference_first))
        assert float(sample.std() / expected.std()) == pytest.approx(1, rel=0.05)
        assert stats.ks_2samp(sample[:5000].numpy(), expected[:5000].numpy()).pvalue > 1e-4
        assert not torch.equal(sample, expected)


def fan_out_std(layer: nn.Conv2d) -> float:
    """He's spread: sqrt(2 / (output channels x kernel area))."""
    return math.sqrt(2 / (layer.out_channels * math.prod(layer.kernel_size)))


@pytest.mark.parametrize("name", ["modified_vgg", "modified_resnet"])
def test_first_convolutions_of_the_modified_models_have_the_spread_of_he(name: str) -> None:
    """Mean zero; variance 2 / (output channels x kernel area); no bias but zero."""
    torch.manual_seed(1)
    for layer in build_model(name, in_channels=3).modules():
        if isinstance(layer, nn.Conv2d):
            std = fan_out_std(layer)
            assert float(layer.weight.detach().std()) == pytest.approx(std, rel=0.1)
            assert abs(float(layer.weight.detach().mean())) < 0.1 * std
            assert layer.bias is None or not layer.bias.any()


@pytest.mark.parametrize("name", NAMES)
def test_norms_start_at_scale_one_and_shift_zero(name: str) -> None:
    """And every bias of a VGG starts at zero, those of its linear layers too."""
    model = build_model(name)
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert norms
    for norm in norms:
        assert (norm.weight == 1).all()
        assert not norm.bias.any()
    if "vgg" in name:
        assert not any(p.any() for key, p in model.named_parameters() if key.endswith("bias"))


def test_linear_layers_of_the_modified_vgg_start_with_a_spread_of_a_hundredth() -> None:
    """Normal with mean 0 and standard deviation 0.01, as in VGG16."""
    torch.manual_seed(1)
    hidden, last = (m for m in build_model("modified_vgg").modules() if isinstance(m, nn.Linear))
    assert float(hidden.weight.detach().std()) == pytest.approx(0.01, rel=0.02)
    assert float(last.weight.detach().std()) == pytest.approx(0.01, rel=0.05)
