"""The four architectures, checked against torchvision's.

A benchmark of "VGG16" is worth nothing if it is not VGG16. For each model torchvision builds an
independent twin; the twin's weights are copied over and both must then do the same, in training
and in evaluation.

Shapes: B batch, C channels, H W pixels, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from cnnperf.catalog.registry import get_model
from cnnperf.models import build_model, count_parameters
from tests.models.helpers import CLASSES, NAMES, REFERENCES, evaluate


@dataclass(frozen=True, kw_only=True)
class Twins:
    """Our model and torchvision's, after one training step's forward and backward pass."""

    name: str
    ours: nn.Module
    reference: nn.Module
    our_logits: Tensor
    """(B, K)"""
    reference_logits: Tensor
    """(B, K)"""


def random_images(batch: int, resolution: int) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(batch, 3, resolution, resolution, generator=generator)


def scatter(module: nn.Module) -> None:
    """Move biases, norms and running statistics off 0 and 1, where mistakes would not show."""
    for tensor in module.state_dict().values():
        if tensor.dim() == 1:
            tensor += 0.2 * torch.rand_like(tensor)


def copy_state(source: nn.Module, target: nn.Module) -> None:
    """Copy parameters and buffers by their order; names may differ, shapes may not."""
    pairs = list(zip(source.state_dict().values(), target.state_dict().values(), strict=True))
    assert [old.shape for old, _ in pairs] == [new.shape for _, new in pairs]
    for old, new in pairs:
        new.copy_(old)


def train_step(model: nn.Module, images_BCHW: Tensor) -> Tensor:
    """Forward in train mode, backward; the seed decides which units dropout drops."""
    torch.manual_seed(11)
    logits_BK = model.train()(images_BCHW)
    cross_entropy(logits_BK, torch.arange(len(images_BCHW))).backward()
    return logits_BK.detach()


@pytest.fixture(scope="module", params=NAMES)
def twins(request: pytest.FixtureRequest) -> Twins:
    name = request.param
    torch.manual_seed(3)
    reference, ours = REFERENCES[name](), build_model(name, CLASSES, 3)
    scatter(reference)
    copy_state(reference, ours)
    images_BCHW = random_images(4, 64 if get_model(name).resolution == 224 else 28)
    return Twins(
        name=name,
        ours=ours,
        reference=reference,
        our_logits=train_step(ours, images_BCHW),
        reference_logits=train_step(reference, images_BCHW),
    )


def assert_same(actual: Tensor, expected: Tensor, scale: float | None = None) -> None:
    """Equal but for rounding: within 1e-5 of the largest value, and not all zero."""
    scale = float(expected.abs().max()) if scale is None else scale
    assert scale > 0
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5 * scale)


def test_a_training_forward_pass_gives_torchvisions_logits(twins: Twins) -> None:
    """Train mode: batch statistics and, under the same seed, the same dropped units."""
    assert_same(twins.our_logits, twins.reference_logits)


def test_a_backward_pass_gives_torchvisions_gradients(twins: Twins) -> None:
    """Every parameter gets a gradient, and it equals its counterpart's."""
    pairs = list(zip(twins.ours.parameters(), twins.reference.parameters(), strict=True))
    largest = max(float(theirs.grad.abs().max()) for _, theirs in pairs)
    for ours, theirs in pairs:
        # A bias before a batch norm has gradient zero, so its value is rounding of the others.
        cancelled = float(theirs.grad.abs().max()) < 1e-5 * largest
        assert_same(ours.grad, theirs.grad, largest if cancelled else None)


def test_a_training_forward_pass_moves_running_statistics_as_torchvisions(twins: Twins) -> None:
    """Every buffer, the counter of batches included, equals its counterpart's."""
    pairs = list(zip(twins.ours.buffers(), twins.reference.buffers(), strict=True))
    assert len(pairs) == 3 * sum(isinstance(m, nn.BatchNorm2d) for m in twins.reference.modules())
    for ours, theirs in pairs:
        assert_same(ours, theirs)


def test_evaluation_gives_torchvisions_logits(twins: Twins) -> None:
    """Eval mode at the model's own resolution, 224 or 28 pixels, after a training step."""
    images_BCHW = random_images(1, get_model(twins.name).resolution)
    assert_same(evaluate(twins.ours, images_BCHW), evaluate(twins.reference, images_BCHW))


@pytest.mark.parametrize(("name", "parameters"), [("vgg16", 134_309_962), ("resnet34", 21_289_802)])
def test_the_full_models_have_torchvisions_number_of_parameters(name: str, parameters: int) -> None:
    """Counted on the meta device, which holds shapes without values."""
    with torch.device("meta"):
        ours, reference = build_model(name), REFERENCES[name]()
    assert count_parameters(ours) == parameters
    assert sum(p.numel() for p in reference.parameters()) == parameters
