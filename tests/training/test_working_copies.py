"""bfloat16 copies of weights, and the Adam that writes them, against autocast and torch's Adam."""

from __future__ import annotations

import copy
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from cnnperf.models import build_model  # noqa: E402
from cnnperf.training.engines.fast.engine import FastEngine  # noqa: E402
from cnnperf.training.engines.fast.lean_convolutions import fold_grey_input  # noqa: E402
from cnnperf.training.engines.fast.working_copies import (  # noqa: E402
    CopyingAdam,
    attach_copies,
    copies_of,
    detach_copies,
    layers_to_copy,
    writing_copies,
)
from tests.training.fast_engines import break_compiling, first_losses, make_engine  # noqa: E402

CUDA = torch.device("cuda")


class Net(nn.Module):
    """Weights with one use, with two, and one that something else than its layer reads."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.twice, self.read = nn.Conv2d(4, 4, 1), nn.Linear(4, 4)
        self.last = nn.Linear(4, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.twice(functional.relu(self.twice(self.norm(self.first(images)))))
        return self.last(self.read(features.mean((2, 3))) @ self.read.weight)


ONCE = ["first", "last"]


def batch(seed: int, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(8, 3, 6, 6, generator=generator, dtype=dtype)
    return images, torch.randint(0, 5, (8,), generator=generator)


def step(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> float:
    images, labels = batch(seed, next(model.parameters()).dtype)
    optimizer.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = functional.cross_entropy(model(images), labels)
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def with_copies(model: nn.Module, dtype: torch.dtype, *, compiled: bool = False) -> CopyingAdam:
    attach_copies(model, ONCE, dtype)
    adam = torch.optim.Adam(model.parameters(), lr=1e-2, fused=True)
    return writing_copies(adam, copies_of(model), compiled=compiled)


def test_only_weights_with_one_use_are_copied() -> None:
    """Gradients of two uses would be added in bfloat16."""
    with torch.device("meta"):
        assert layers_to_copy(Net(), torch.empty(2, 3, 6, 6)) == ONCE


@pytest.mark.parametrize(("name", "count"), [("modified_vgg", 8), ("modified_resnet", 13)])
def test_the_studys_models(name: str, count: int) -> None:
    """Every convolution and linear layer, but not a first one that sums slices of its weight."""
    with torch.device("meta"):
        on_meta = build_model(name, in_channels=3, resolution=28).train()
        names = layers_to_copy(on_meta, torch.empty(2, 3, 28, 28))
    assert len(names) == count
    model = fold_grey_input(build_model(name, in_channels=3, resolution=28))
    attach_copies(model, names, torch.bfloat16)
    assert len(copies_of(model)) == count - 1


@pytest.mark.parametrize("compiled", [False, True])
def test_fifty_steps_are_adams(compiled: bool) -> None:
    """In float64, where rounding is small and autocast does nothing."""
    torch.manual_seed(0)
    expected = Net().double()
    found = copy.deepcopy(expected)
    adam = torch.optim.Adam(expected.parameters(), lr=1e-2, fused=True)
    copying = with_copies(found, torch.float64, compiled=compiled)
    losses = [
        [step(model, optimizer, seed) for seed in range(50)]
        for model, optimizer in ((expected, adam), (found, copying))
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)
    for weight, working in copies_of(found):
        assert torch.equal(weight, working)
        assert weight.grad is None


def test_gradients_are_those_of_autocast_and_copies_follow_the_weights() -> None:
    torch.manual_seed(0)
    expected = Net()
    found = copy.deepcopy(expected)
    optimizers = (
        torch.optim.Adam(expected.parameters(), lr=1e-2),
        with_copies(found, torch.bfloat16),
    )
    losses = [
        step(model, each, 0) for model, each in zip((expected, found), optimizers, strict=True)
    ]
    assert losses[0] == losses[1]
    for name in ONCE:
        layer = found.get_submodule(name)
        gradient = expected.get_submodule(name).weight.grad
        assert torch.equal(layer.working.grad.float(), gradient)
        assert layer.working.grad.dtype == torch.bfloat16
        assert torch.equal(layer.working, layer.weight.bfloat16())
        torch.testing.assert_close(layer.weight, expected.get_submodule(name).weight)
    optimizers[1].zero_grad()
    assert all(working.grad is None for _, working in copies_of(found))


def test_without_autocast_the_weights_are_used() -> None:
    """As when inference is measured in float32 after training."""
    model = Net().eval()
    images, _ = batch(0)
    expected = model(images)
    attach_copies(model, ONCE, torch.bfloat16)
    assert torch.equal(model(images), expected)
    detach_copies(model)
    assert copies_of(model) == []


@pytest.mark.parametrize(
    ("recipe", "copied"),
    [
        ({}, True),
        ({"optimizer": {"name": "Adam", "betas": [0.8, 0.9]}}, True),
        ({"optimizer": {"name": "Adam", "weight_decay": 0.1}}, False),
        ({"optimizer": "AdamW"}, False),
        ({"clip_norm": 1.0}, False),
        ({"accumulate_steps": 2}, False),
        ({"ema_decay": 0.9}, False),
    ],
)
def test_when_weights_are_copied(recipe: dict[str, Any], copied: bool) -> None:
    """What else reads or changes gradients and weights would have to know of the copies."""
    engine = make_engine(recipe)
    engine.autocast_dtype = torch.bfloat16
    assert engine.copies_weights(CUDA) == copied
    engine.autocast_dtype = None
    assert not engine.copies_weights(CUDA)


def test_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make_engine()
    engine.autocast_dtype = torch.bfloat16
    monkeypatch.setenv("CNNPERF_FAST_OFF", "copies")
    assert not engine.copies_weights(CUDA)


def test_training_with_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine's own steps, on a CPU: warm-up leaves no trace in the copies."""

    def small_model(self: FastEngine) -> nn.Module:
        layers = nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten()
        return nn.Sequential(*layers, nn.Linear(8 * 26 * 26, 10))

    monkeypatch.setattr(FastEngine, "make_model", small_model)
    expected = first_losses(make_engine(precision="bfloat16"))
    monkeypatch.setattr(FastEngine, "copies_weights", lambda self, device: True)
    engine = make_engine(precision="bfloat16", compile="on")
    engine.prepare()
    assert isinstance(engine.optimizer, CopyingAdam)
    assert len(copies_of(engine.model)) == 2
    assert all(torch.equal(weight.bfloat16(), each) for weight, each in copies_of(engine.model))
    assert first_losses(engine) == pytest.approx(expected, rel=0.02)
    assert not engine.flags


def test_after_a_failed_compilation_nothing_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FastEngine, "copies_weights", lambda self, device: True)
    monkeypatch.setattr(FastEngine, "_is_to_be_compiled", lambda self, seconds: True)
    break_compiling(monkeypatch)
    engine = make_engine(compile="auto", precision="bfloat16")
    engine.prepare()
    assert copies_of(engine.model) == []
    assert type(engine.optimizer) is torch.optim.Adam
    assert [flag.kind for flag in engine.flags] == ["not_compiled"]
