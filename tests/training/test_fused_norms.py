"""Batch norm, ReLU and pooling as one operation, against torch's own layers."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from cnnperf.models import build_model  # noqa: E402
from cnnperf.training.engines.fast.fused_norms import fuse_norms  # noqa: E402


class Residual(nn.Module):
    """Two branches whose sum is activated, and used twice; one may be broadcast."""

    def __init__(self, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 3, 1), second

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        active = functional.relu(self.first(images) + self.second(images))
        return active + self.first(active)


class Twofold(nn.Module):
    """A sum in which the second tensor counts twice."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return functional.relu(torch.add(images, images.flip(0), alpha=2))


class SummedInPlace(nn.Module):
    """A sum that replaces its first tensor, which is read again."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 3, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        result = self.first(images)
        total = result
        total += images
        return functional.relu(total) * result


class ReadTwice(nn.Module):
    """Batch norm's result, or ReLU's, is read by something else, too."""

    def __init__(self, *, after_relu: bool) -> None:
        super().__init__()
        self.norm, self.after_relu = nn.BatchNorm2d(3), after_relu

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        normalised = self.norm(images)
        active = functional.relu(normalised)
        if not self.after_relu:
            return active * normalised
        return active.mean() * functional.max_pool2d(active, 2)


class Frozen(nn.Module):
    """Batch norm with its running statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.norm.eval()
        return functional.relu(self.norm(images))


def norm(**changes: Any) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(3, **changes)


PATTERNS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "relu": (lambda: nn.Sequential(norm(), nn.ReLU()), 1),
    "in place": (lambda: nn.Sequential(norm(momentum=0.3, eps=0.1), nn.ReLU(inplace=True)), 1),
    "pool": (lambda: nn.Sequential(norm(), nn.ReLU(), nn.MaxPool2d(2)), 1),
    "pool, pairs": (lambda: nn.Sequential(norm(), nn.ReLU(), nn.MaxPool2d((2, 2), (2, 2))), 1),
    "residual": (lambda: Residual(nn.Conv2d(3, 3, 1)), 1),
    "broadcast": (lambda: Residual(nn.AdaptiveAvgPool2d(1)), 1),
    # Only ReLU is fused here; the pooling stays.
    "pool of 3": (lambda: nn.Sequential(norm(), nn.ReLU(), nn.MaxPool2d(3, 2, 1)), 1),
    "ceiling": (lambda: nn.Sequential(norm(), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)), 1),
    "overlap": (lambda: nn.Sequential(norm(), nn.ReLU(), nn.MaxPool2d(2, stride=1)), 1),
    "pooled and read": (lambda: ReadTwice(after_relu=True), 1),
    # Nothing is fused here.
    "read twice": (lambda: ReadTwice(after_relu=False), 0),
    "frozen": (Frozen, 0),
    "no weights": (lambda: nn.Sequential(norm(affine=False), nn.ReLU()), 0),
    "no statistics": (lambda: nn.Sequential(norm(track_running_stats=False), nn.ReLU()), 0),
    "other activation": (lambda: nn.Sequential(norm(), nn.GELU()), 0),
    "twofold": (Twofold, 0),
    "in-place sum": (SummedInPlace, 0),
    "features": (lambda: nn.Sequential(nn.Flatten(), nn.BatchNorm1d(231), nn.ReLU()), 0),
}
"""By name: a model for images of 3 x 11 x 7, and how many operations are replaced."""


def fused(model: nn.Module) -> tuple[Callable[..., Any], list[int]]:
    """The model with its patterns replaced and differentiated as by torch's compiler."""
    from torch._dynamo.backends.debugging import aot_eager

    torch._dynamo.reset()  # it refuses to compile a module of one class again and again
    counts: list[int] = []

    def backend(graph: Any, inputs: Any) -> Any:
        counts.append(fuse_norms(graph))
        return aot_eager(graph, inputs)

    return torch.compile(model, backend=backend, fullgraph=True, dynamic=False), counts


def random_norms(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.affine:
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    return model


@pytest.mark.parametrize("name", PATTERNS)
def test_result_gradients_and_statistics_are_the_same(name: str) -> None:
    make, count = PATTERNS[name]
    torch.manual_seed(0)
    expected = random_norms(make()).double().train()
    found = copy.deepcopy(expected)
    function, counts = fused(found)
    images = torch.randn(5, 3, 11, 7, dtype=torch.float64)
    inputs = [images.clone().requires_grad_() for _ in range(2)]
    for model, x in zip((expected, function), inputs, strict=True):
        result = model(x)
        (result * torch.linspace(-1, 1, result.numel()).view(result.shape)).sum().backward()
    assert counts == [count]
    torch.testing.assert_close(inputs[1].grad, inputs[0].grad)
    for one, other in zip(expected.parameters(), found.parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad)
    for one, other in zip(expected.buffers(), found.buffers(), strict=True):
        torch.testing.assert_close(other, one)


@pytest.mark.parametrize(("name", "count"), [("modified_vgg", 6), ("modified_resnet", 9)])
def test_fifty_steps_are_the_same_training(name: str, count: int) -> None:
    """Losses in float64, where rounding is small. Dropout would draw in another order."""
    torch.manual_seed(0)
    expected = build_model(name, in_channels=1, resolution=8).double()
    for module in expected.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    found = copy.deepcopy(expected)
    function, counts = fused(found)
    losses: list[list[float]] = []
    for model, parameters in ((expected, expected), (function, found)):
        torch.manual_seed(1)
        optimizer = torch.optim.Adam(parameters.parameters(), lr=1e-3)
        losses.append([])
        for _ in range(50):
            images = torch.randn(4, 1, 8, 8, dtype=torch.float64)
            loss = functional.cross_entropy(model(images), torch.arange(4))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses[-1].append(float(loss.detach()))
    assert counts == [count]
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)


def test_of_equal_pixels_the_first_one_gets_the_gradient() -> None:
    """As in torch's max pooling; bfloat16 has few values, so that many pixels are equal."""
    torch.manual_seed(0)
    model = random_norms(nn.Sequential(norm(), nn.ReLU(), nn.MaxPool2d(2)))
    function, counts = fused(copy.deepcopy(model))
    images = torch.randn(8, 3, 32, 32).bfloat16()
    inputs = [images.clone().requires_grad_() for _ in range(2)]
    results = [each(x) for each, x in zip((model, function), inputs, strict=True)]
    for result in results:
        result.sum().backward()
    assert counts == [1]
    same = [(each != 0).float() for each in results]
    assert torch.equal(*same)
    torch.testing.assert_close(*results, rtol=0.01, atol=0.01)
    torch.testing.assert_close(inputs[1].grad, inputs[0].grad, rtol=0.05, atol=0.01)


def test_what_is_no_number_stays_so() -> None:
    """A training that diverges must not go on with zeros."""
    function, _ = fused(nn.Sequential(norm(), nn.ReLU(), nn.MaxPool2d(2)))
    images = torch.randn(2, 3, 4, 4)
    images[0, 1, 2, 3] = torch.nan
    result = function(images)
    assert torch.isnan(result[:, 1]).all()
    assert not torch.isnan(result[:, [0, 2]]).any()


def test_evaluation_is_the_same() -> None:
    model = build_model("modified_resnet", in_channels=1, resolution=14).eval()
    function, _ = fused(model)
    images = torch.randn(4, 1, 14, 14)
    with torch.inference_mode():
        torch.testing.assert_close(function(images), model(images))
