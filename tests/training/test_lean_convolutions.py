"""Convolutions without work that has no effect, against those that do it all."""

from __future__ import annotations

import copy

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")

from torch import nn  # noqa: E402

from cnnperf.models import build_model  # noqa: E402
from cnnperf.training.engines.fast.lean_convolutions import (  # noqa: E402
    LeanConv2d,
    fold_grey_input,
    only_convolutions_read,
    skip_biases,
)


class Plain(nn.Module):
    """A convolution with a bias in front of batch norm."""

    def __init__(self, **convolution: object) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 4, 3, **convolution)
        nn.init.zeros_(self.convolution.bias)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.norm(self.convolution(images)).mean((2, 3))


class UsedTwice(Plain):
    """The convolution's result is added to the normalised one, which does not cancel its bias."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        result = self.convolution(images)
        return (self.norm(result) + result).mean((2, 3))


class RunTwice(Plain):
    """The convolution runs twice; the second result is not normalised."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images) + self.convolution(images).mean((2, 3))


class Activated(Plain):
    """A function, which no hook sees, reads the result first."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.norm(torch.relu(self.convolution(images))).mean((2, 3))


class Frozen(Plain):
    """Batch norm keeps its running statistics, from which it does not subtract this bias."""

    def train(self, mode: bool = True) -> Frozen:
        super().train(mode)
        self.norm.eval()
        return self


def skipped(model: nn.Module) -> list[str]:
    """The names of convolutions whose biases are skipped."""
    on_meta = copy.deepcopy(model).float().to("meta").train()
    return skip_biases(model, on_meta, torch.empty(2, 1, 9, 9, device="meta"))


def test_a_zero_bias_in_front_of_batch_norm_is_skipped() -> None:
    assert skipped(Plain()) == ["convolution"]


@pytest.mark.parametrize(
    "model",
    [UsedTwice(), RunTwice(), Activated(), Frozen(), Plain(padding=1, padding_mode="reflect")],
    ids=lambda model: type(model).__name__,
)
def test_a_bias_with_an_effect_is_kept(model: nn.Module) -> None:
    """Each model differs in one thing from the one whose bias is skipped."""
    assert skipped(model) == []


def test_a_bias_that_is_not_zero_is_kept() -> None:
    """Weights that somebody else trained: the running mean must follow the bias."""
    model = Plain()
    nn.init.constant_(model.convolution.bias, 0.1)
    assert skipped(model) == []


@pytest.mark.parametrize(("name", "count"), [("modified_vgg", 6), ("modified_resnet", 0)])
def test_the_studys_models(name: str, count: int) -> None:
    """Each convolution of a VGG has a bias, and none of a residual network."""
    model = build_model(name, in_channels=1, resolution=28)
    with torch.device("meta"):
        on_meta = build_model(name, in_channels=1, resolution=28).train()
        images = torch.empty(2, 1, 28, 28)
    assert len(skip_biases(model, on_meta, images)) == count


def test_training_without_the_bias_is_the_same_training() -> None:
    """Losses, other gradients, statistics and evaluation, in float64, where rounding is small."""
    torch.manual_seed(0)
    whole = Plain().double()
    lean = copy.deepcopy(whole)
    assert skipped(lean) == ["convolution"]
    assert isinstance(lean.convolution, LeanConv2d)
    images = torch.randn(6, 8, 1, 9, 9, dtype=torch.float64)
    losses = []
    for model in (whole, lean):
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        for batch in images:
            optimizer.zero_grad()
            loss = model(batch).square().sum() + model(batch)[:, 0].sum()
            loss.backward()
            optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[1] == pytest.approx(losses[0], rel=1e-9)
    assert not lean.convolution.bias.any()
    assert lean.convolution.bias.grad is None
    torch.testing.assert_close(lean.convolution.weight, whole.convolution.weight)
    torch.testing.assert_close(lean.eval()(images[0]), whole.eval()(images[0]))


def test_a_folded_convolution_can_lose_its_bias_too() -> None:
    """The first convolution of VGG16 on grey images."""
    model = fold_grey_input(build_model("vgg16", resolution=32))
    with torch.device("meta"):
        on_meta = build_model("vgg16", resolution=32).train()
        images = torch.empty(2, 3, 32, 32)
    assert len(skip_biases(model, on_meta, images)) == 13
    first = model.convolutions[0]
    assert first.one_of_three
    assert first.without_bias
    assert first.train()(torch.ones(1, 1, 4, 4)).shape == (1, 64, 4, 4)


class NormalisesFirst(nn.Module):
    """Batch norm reads the images, and would see them rounded."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.BatchNorm2d(1), nn.Conv2d(1, 4, 3))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images).mean((2, 3))


class ScalesFirst(Plain):
    """A function, which no hook sees, reads the images."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images / 255)


@pytest.mark.parametrize(
    ("model", "only"), [(Plain(), True), (NormalisesFirst(), False), (ScalesFirst(), False)]
)
def test_what_reads_the_images(model: nn.Module, only: bool) -> None:
    """Autocast rounds the input of a convolution; whoever else reads them gets all their bits."""
    on_meta = model.to("meta").train()
    assert only_convolutions_read(on_meta, torch.empty(2, 1, 9, 9, device="meta")) == only
