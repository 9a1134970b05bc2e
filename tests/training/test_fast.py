"""The fast engine against the eager one: each of its means alone, then all of them together."""

from __future__ import annotations

import copy
import statistics

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")

from torch import nn  # noqa: E402

from cnnperf.catalog.specs import Case, Recipe  # noqa: E402
from cnnperf.models import build_model  # noqa: E402
from cnnperf.training.engines import Engine  # noqa: E402
from cnnperf.training.engines.eager import EagerEngine  # noqa: E402
from cnnperf.training.engines.fast.engine import FastEngine  # noqa: E402
from cnnperf.training.engines.fast.lean_convolutions import fold_grey_input  # noqa: E402
from tests.training.untouched import assert_is_fresh  # noqa: E402

STEPS = 50


DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


def prepared(
    engine: type[Engine], model: str = "modified_vgg", device: str = "cpu", **recipe: object
) -> Engine:
    """An engine that is ready to train on digits."""
    case = Case(
        model=model,
        dataset="digits",
        resolution=28,
        recipe=Recipe.model_validate({"name": "test", "batch_size": 32, **recipe}),
        engine="fast" if engine is FastEngine else "eager",
    )
    made = engine(case=case, seed=4, device=torch.device(device), data_dir=".")
    made.prepare()
    made.load_data()
    return made


def ignore(step: int, loss: float) -> None:
    """An observer that does not care."""


def same_batches(count: int, size: int = 8) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Noise with labels, the same whenever it is asked for."""
    generator = torch.Generator().manual_seed(0)
    return [
        (torch.randn(size, 1, 28, 28, generator=generator),
         torch.randint(0, 10, (size,), generator=generator))
        for _ in range(count)
    ]  # fmt: skip


def train_on_noise(engine: Engine, dtype: torch.dtype, nudge: float = 0.0) -> list[float]:
    """Losses of fifty steps on the same noise, from the same weights, all but a nudge."""
    engine.autocast_dtype = None
    engine.model.train()
    with torch.no_grad():
        signs = torch.Generator().manual_seed(2)
        for parameter in engine.model.parameters():
            sign = torch.randint(-1, 2, parameter.shape, generator=signs).to(parameter.device)
            parameter.mul_(1 + nudge * sign)
    engine.model.to(dtype)
    engine.optimizer.state.clear()  # of another type, where capturing has made some
    torch.manual_seed(1)
    batches = [
        (images.to(engine.device, dtype), labels.to(engine.device))
        for images, labels in same_batches(STEPS)
    ]
    return [float(engine.step(batch)) for batch in batches]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("model", ["modified_vgg", "modified_resnet"])
def test_fast_computes_the_mathematics_of_eager(
    model: str, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In float64, where rounding has no time to grow, fifty losses are equal."""
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)  # `fast` sets it on CUDA
    eager = train_on_noise(prepared(EagerEngine, model, device), torch.float64)
    fast = train_on_noise(prepared(FastEngine, model, device), torch.float64)
    assert fast == pytest.approx(eager, rel=1e-6)


@pytest.mark.parametrize("model", ["modified_vgg", "modified_resnet"])
def test_in_float32_fast_differs_from_eager_by_rounding_alone(model: str) -> None:
    """No more than eager differs from itself when each weight is nudged by one rounding.

    Adam's first steps are nearly the signs of the gradients, so any rounding grows; what can be
    asked is that it does not start larger. The median of the steps counts: a single one may differ
    ten times as much, in either way.
    """
    eager = train_on_noise(prepared(EagerEngine, model), torch.float32)
    nudged = train_on_noise(prepared(EagerEngine, model), torch.float32, nudge=2.0**-23)
    fast = train_on_noise(prepared(FastEngine, model), torch.float32)
    assert fast[0] == pytest.approx(eager[0], rel=1e-5)
    by_rounding, by_engine = (
        statistics.median(abs(a - b) for a, b in zip(losses, eager, strict=True))
        for losses in (nudged, fast)
    )
    assert by_engine <= 10 * by_rounding


def test_bfloat16_stays_close_to_float32_for_a_step() -> None:
    """Eight bits of mantissa: the first loss agrees to a few per cent."""
    eager, fast = prepared(EagerEngine), prepared(FastEngine)
    fast.autocast_dtype = torch.bfloat16
    (batch,) = same_batches(1)
    torch.manual_seed(1)
    eager.model.train()
    expected = float(eager.step(batch))
    torch.manual_seed(1)
    fast.model.train()
    assert float(fast.step(batch)) == pytest.approx(expected, rel=0.05)
    assert fast.precision == "bfloat16"


def test_trials_of_precisions_change_neither_model_nor_optimizer() -> None:
    """After preparing, weights and running statistics are those of a fresh model of that seed."""
    fast = prepared(FastEngine)
    assert_is_fresh(fast)
    assert not fast.optimizer.state


def test_every_training_image_is_seen_once_an_epoch() -> None:
    """1,150 images in batches of 32 are 36 steps; another epoch is another order."""
    fast = prepared(FastEngine)
    seen = []
    split = fast.data.train
    original = split.batch
    split.batch = lambda rows: (seen.append(rows), original(rows))[1]
    phase = fast.train_epoch(1, ignore)
    assert phase.images == 1150
    assert len(phase.step_seconds) == fast.steps_per_epoch() == 36
    first = torch.cat(seen)
    assert sorted(first.tolist()) == list(range(1150))
    seen.clear()
    fast.train_epoch(2, ignore)
    assert not torch.equal(torch.cat(seen), first)


def test_evaluation_equals_eagers_in_float32() -> None:
    """The same weights predict the same, whatever the batches."""
    eager, fast = prepared(EagerEngine), prepared(FastEngine)
    fast.autocast_dtype = None
    eager.train_epoch(1, ignore)
    fast.model.load_state_dict(eager.model.state_dict())
    for split in ("validation", "test"):
        expected, got = eager.evaluate(split), fast.evaluate(split)
        assert got.confusion_KK.tolist() == expected.confusion_KK.tolist()
        assert got.mean_loss == pytest.approx(expected.mean_loss, rel=1e-4)


@pytest.mark.parametrize("name", ["vgg16", "resnet34"])
def test_folding_grey_images_preserves_function_and_training(name: str) -> None:
    """One channel instead of three equal ones: same output, same gradients, same Adam step."""
    torch.manual_seed(0)
    whole = build_model(name, resolution=32)
    folded = fold_grey_input(copy.deepcopy(whole))
    images_B1HW = torch.randn(4, 1, 32, 32)
    results = []
    for model, images in ((whole, images_B1HW.expand(-1, 3, -1, -1)), (folded, images_B1HW)):
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        torch.manual_seed(2)
        loss = nn.functional.cross_entropy(model(images), torch.arange(4))
        loss.backward()
        first = next(model.parameters())
        gradient = first.grad.clone()
        optimizer.step()
        results.append((loss.detach(), gradient, first.detach().clone()))
    (loss, gradient, weight), (loss_f, gradient_f, weight_f) = results
    torch.testing.assert_close(loss_f, loss, rtol=1e-4, atol=1e-5)
    scale = gradient.abs().max()
    torch.testing.assert_close(gradient_f / scale, gradient / scale, rtol=0, atol=2e-3)
    assert torch.equal(gradient_f[:, 0], gradient_f[:, 1])
    torch.testing.assert_close(weight_f, weight, rtol=0, atol=2.1e-3)


def test_folding_an_unsupported_convolution_is_an_error() -> None:
    """A first convolution of one channel has nothing to fold."""
    with pytest.raises(ValueError, match="takes 1 channels, not 3"):
        fold_grey_input(build_model("modified_vgg", in_channels=1))


def test_the_models_convolutions_stay_channels_last() -> None:
    """The first convolution's output has the strides that the next one wants."""
    fast = prepared(FastEngine)
    seen = []
    first = next(m for m in fast.model.modules() if isinstance(m, nn.Conv2d))
    first.register_forward_hook(lambda module, inputs, output: seen.append(output))
    fast.train_step()
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
