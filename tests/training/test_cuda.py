"""On a GPU, graphs and compilation train the same as plain launches."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")

from torch._inductor import config as inductor  # noqa: E402

from cnnperf.catalog.specs import Case  # noqa: E402
from cnnperf.training.engines import Engine  # noqa: E402
from cnnperf.training.engines.eager import EagerEngine  # noqa: E402
from cnnperf.training.engines.fast import device_data as memory  # noqa: E402
from cnnperf.training.engines.fast.engine import FastEngine  # noqa: E402
from tests.training.untouched import assert_is_fresh  # noqa: E402

pytestmark = pytest.mark.cuda

STEPS = 72
"""A whole epoch of digits: two graphs of 25 steps, 21 single ones and a short batch of 14."""


def ignore(step: int, loss: float) -> None:
    """An observer that does not care."""


def make_engine(engine: type[Engine], model: str = "modified_vgg", **case: Any) -> Engine:
    """An engine on the GPU for digits, not yet prepared."""
    made = Case.model_validate(
        {
            "model": model, "dataset": "digits", "resolution": 28, "engine": "fast",
            "precision": "float32", "recipe": {"name": "test", "batch_size": 16}, **case,
        }
    )  # fmt: skip
    return engine(case=made, seed=3, device=torch.device("cuda", 0), data_dir=".")


@pytest.fixture(autouse=True)
def _exact(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No TF32, the same algorithms every time, and dropout as without compiling."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)  # `fast` sets it; undone later
    with inductor.patch(fallback_random=True):  # monkeypatch would delete the setting afterwards
        yield


def without_dropout(engine: Engine) -> Engine:
    """Prepared, with dropout off: a graph draws from another place of the generator's sequence."""
    prepare = engine.place

    def place(model: torch.nn.Module) -> torch.nn.Module:
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        return prepare(model)

    engine.place = place  # type: ignore[method-assign]
    engine.prepare()
    engine.load_data()
    return engine


def losses_of(engine: Engine, steps: int = STEPS) -> list[float]:
    """Losses of the first steps of a prepared engine."""
    engine.model.train()
    blocks = [losses.clone() for losses, _ in engine.train_blocks(steps)]
    return torch.cat(blocks).tolist()


@pytest.mark.parametrize("model", ["modified_vgg", "modified_resnet"])
@pytest.mark.parametrize("compiled", ["off", "on"])
def test_graphs_train_what_single_launches_train(model: str, compiled: str) -> None:
    """The same losses, graph by graph, from the same order and weights."""
    graphed = without_dropout(make_engine(FastEngine, model, compile=compiled))
    assert graphed._graphs
    assert not graphed.flags
    plain = without_dropout(make_engine(FastEngine, model, compile="off"))
    plain._graphs = []
    expected, got = losses_of(plain), losses_of(graphed)
    assert got[0] == pytest.approx(expected[0], rel=1e-5)
    assert got[:10] == pytest.approx(expected[:10], rel=1e-2)
    # Adam's first steps are nearly signs of gradients, so roundings grow; see test_fast.py.
    assert sum(got[-10:]) == pytest.approx(sum(expected[-10:]), rel=0.2)


@pytest.mark.parametrize("model", ["modified_vgg", "modified_resnet"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("compiled", ["off", "on"])
def test_capturing_leaves_the_model_and_the_optimizer_as_they_were(
    model: str, precision: str, compiled: str
) -> None:
    """Weights and statistics are a fresh model's of that seed; Adam's state is zero."""
    engine = make_engine(FastEngine, model, precision=precision, compile=compiled)
    engine.prepare()
    assert len(engine._graphs) == 3
    assert_is_fresh(engine)
    assert engine.optimizer.state
    for state in engine.optimizer.state.values():
        assert all(not value.any() for value in state.values())
    assert all(parameter.grad is None for parameter in engine.model.parameters())


@pytest.mark.parametrize("model", ["modified_vgg", "modified_resnet"])
@pytest.mark.parametrize("compiled", ["off", "on"])
def test_graphs_train_what_eager_trains(model: str, compiled: str) -> None:
    """The engine that is plain PyTorch, on the same batches, has the same losses."""
    graphed = without_dropout(make_engine(FastEngine, model, compile=compiled))
    assert graphed._graphs
    source = without_dropout(make_engine(FastEngine, model, compile="off"))
    eager = without_dropout(make_engine(EagerEngine, model, engine="eager"))
    eager.model.train()
    batches = itertools.islice(source.train_batches(), STEPS)
    expected = [float(eager.step(batch)) for batch in batches]
    got = losses_of(graphed)
    assert got[0] == pytest.approx(expected[0], rel=1e-5)
    assert got[:10] == pytest.approx(expected[:10], rel=1e-2)
    assert sum(got[-10:]) == pytest.approx(sum(expected[-10:]), rel=0.2)


def test_dropout_differs_at_every_replay() -> None:
    """The same rows twice, without learning: another mask is another loss."""
    engine = make_engine(FastEngine, recipe={"name": "test", "batch_size": 16,
                                             "learning_rate": 1e-12})  # fmt: skip
    engine.prepare()
    engine.load_data()
    engine.model.train()
    rows_1B = torch.arange(16, device="cuda").view(1, -1)
    first, second = (float(engine._graphs[0].replay(rows_1B)) for _ in range(2))
    assert first != second


def test_trial_keeps_the_memory_that_its_graph_reads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else the allocator may give the batch's memory to somebody else, who writes there."""
    engine = make_engine(FastEngine)
    engine.prepare()
    made: list[weakref.ref[torch.Tensor]] = []
    noise = engine.noise

    def watched(size: int) -> tuple[torch.Tensor, torch.Tensor]:
        batch = noise(size)
        made.extend(map(weakref.ref, batch))
        return batch

    monkeypatch.setattr(engine, "noise", watched)
    step = engine.step_alone()
    step()
    assert made
    assert all(tensor() is not None for tensor in made)


def test_step_that_waits_for_the_host_trains_without_capture(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The model has dropout, whose generator a failed capture could leave unusable."""
    plain = FastEngine._step_on_rows

    def waiting(self: FastEngine, rows_B: torch.Tensor) -> torch.Tensor:
        loss = plain(self, rows_B)
        loss.item()
        return loss

    monkeypatch.setattr(FastEngine, "_step_on_rows", waiting)
    engine = make_engine(FastEngine, compile="off")
    engine.prepare()
    assert [flag.kind for flag in engine.flags] == ["not_captured"]
    engine.load_data()
    phase = engine.train_epoch(1, ignore)
    assert phase.images == 1150


def test_chunks_and_graphs_together_train_every_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU has almost no memory left."""
    monkeypatch.setattr(memory, "chunk_images", lambda *given, **named: 640)
    engine = make_engine(FastEngine)
    engine.prepare()
    engine.load_data()
    assert engine._graphs
    assert engine.train_epoch(1, ignore).images == 1150
    assert engine.data_wait_seconds > 0


def test_peak_memory_holds_what_the_captured_steps_took() -> None:
    """More than weights and images: the activations that replaying uses without asking."""
    engine = make_engine(FastEngine)
    engine.prepare()
    held = sum(p.numel() * 4 for p in engine.model.parameters())
    assert engine.captured_peak_bytes > 3 * held


def test_captured_steps_take_about_what_launched_ones_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Torch counts the bytes allocated above the start."""
    before = torch.cuda.memory_allocated()
    graphed = make_engine(FastEngine, compile="off")
    graphed.prepare()
    captured = graphed.captured_peak_bytes - before
    monkeypatch.setattr(FastEngine, "_can_capture", lambda self: False)
    before = torch.cuda.memory_allocated()
    launching = make_engine(FastEngine, compile="off")
    launching.prepare()
    launching.load_data()
    torch.cuda.reset_peak_memory_stats()
    losses_of(launching, 30)
    launched = torch.cuda.max_memory_allocated() - before
    assert 0.5 * launched < captured < 2 * launched


def test_step_times_come_from_the_device_and_cover_the_epoch() -> None:
    """One for each step, although a graph holds many; their sum is the phase, but for its ends."""
    engine = make_engine(FastEngine)
    engine.prepare()
    engine.load_data()
    engine.train_epoch(1, ignore)
    phase = engine.train_epoch(2, ignore)
    assert len(phase.step_seconds) == engine.steps_per_epoch()
    assert min(phase.step_seconds) > 0
    assert 0.5 * phase.seconds < sum(phase.step_seconds) <= 1.05 * phase.seconds


def test_bfloat16_is_taken_where_the_gpu_has_it() -> None:
    """GPUs have it from compute capability 8.0; float16 never replaces it."""
    engine = make_engine(FastEngine, precision="bfloat16")
    engine.prepare()
    assert engine.precision == "bfloat16"


def test_eager_and_fast_learn_the_same_digits() -> None:
    """Two epochs of each end at nearly the same accuracy."""
    accuracies = []
    for kind in (EagerEngine, FastEngine):
        engine = make_engine(kind, precision="auto")
        engine.prepare()
        engine.load_data()
        for epoch in (1, 2, 3):
            engine.train_epoch(epoch, ignore)
        counts = engine.evaluate("test").confusion_KK
        accuracies.append(counts.trace() / counts.sum())
    assert accuracies[1] == pytest.approx(accuracies[0], abs=0.05)
