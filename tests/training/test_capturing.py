"""`fast` in CUDA graphs, without a GPU: all but the capturing itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")


from cnnperf.training.engines.fast import device_data as memory  # noqa: E402
from cnnperf.training.engines.fast import engine as fast_module  # noqa: E402
from cnnperf.training.engines.fast import graphs  # noqa: E402
from cnnperf.training.engines.fast.engine import FastEngine  # noqa: E402
from tests.training.fast_engines import first_losses, make_engine  # noqa: E402


class ReplayedSteps:
    """Stands for a CUDA graph, and does at once what it would replay."""

    peak_bytes = 10**9
    pool = None

    def __init__(self, step: Callable[..., Any], *, steps: int, batch_size: int) -> None:
        self.steps, self.batch_size, self._step = steps, batch_size, step
        for _ in range(steps):
            step(torch.arange(batch_size))

    def replay(self, rows_KB: torch.Tensor) -> torch.Tensor:
        return torch.stack([self._step(rows_B) for rows_B in rows_KB])


def pretend_to_capture(monkeypatch: pytest.MonkeyPatch, graphed: Callable[..., Any]) -> None:
    """Let the engine make graphs where there is no CUDA."""

    def capture_steps(
        step: Callable[..., Any], *, steps: int, batch_size: int, **given: Any
    ) -> object:
        given["forget_gradients"]()
        return graphed(step, steps=steps, batch_size=batch_size)

    monkeypatch.setattr(FastEngine, "_can_capture", lambda self: True)
    monkeypatch.setattr(fast_module, "new_pool", lambda: None)
    monkeypatch.setattr(fast_module, "capture_steps", capture_steps)


def test_graphs_train_the_same_and_their_warm_up_is_undone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two graphs of 25 steps, 21 of one, and the short batch's; also after compiling."""
    expected = first_losses(make_engine(), steps=72)
    pretend_to_capture(monkeypatch, ReplayedSteps)
    engine = make_engine()
    assert first_losses(engine, steps=72) == pytest.approx(expected, rel=1e-6)
    assert engine.settings["cuda_graph_steps"] == 25
    assert [(g.steps, g.batch_size) for g in engine._graphs] == [(1, 16), (25, 16), (1, 14)]
    copied = sum(tensor.nbytes for tensor in engine.model.state_dict().values())
    assert engine.captured_peak_bytes == 10**9 - copied, "the copy to undo it with is no part of it"
    assert engine.compile_seconds is not None
    assert not engine.flags, engine.flags[0].message
    monkeypatch.setattr(
        fast_module,
        "compile_forward_loss",
        lambda model, loss, options: lambda x, y: loss(model(x), y),
    )
    both = make_engine(compile="on")
    assert first_losses(both, steps=72) == pytest.approx(expected, rel=1e-6)
    both.train_step()


def test_failed_capture_gives_a_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both start from the same weights."""
    expected = first_losses(make_engine())

    def graphed(step: Callable[..., Any], **given: Any) -> None:
        raise RuntimeError("operation not permitted when stream is capturing\nadvice")

    pretend_to_capture(monkeypatch, graphed)
    engine = make_engine()
    assert first_losses(engine) == expected
    (flag,) = engine.flags
    assert flag.kind == "not_captured"
    assert "stream is capturing)" in flag.message
    assert "cuda_graph_steps" not in engine.settings


@pytest.mark.parametrize(
    ("limits", "shapes"),
    [
        ({}, [(1, 16), (25, 16), (1, 14)]),
        ({"max_steps": 10}, [(1, 16), (10, 16), (1, 14)]),
        ({"max_steps": 1}, [(1, 16), (1, 14)]),
        ({"batch_size": 200}, [(1, 200), (5, 200), (1, 150)]),
        ({"drop_last": True}, [(1, 16), (25, 16)]),
    ],
)
def test_no_graph_holds_more_steps_than_an_epoch_has(
    monkeypatch: pytest.MonkeyPatch, limits: dict[str, Any], shapes: list[tuple[int, int]]
) -> None:
    """A longer one would be captured, recorded and never replayed."""
    pretend_to_capture(monkeypatch, lambda step, **given: FakeGraph(given["steps"], []))
    engine = make_engine(limits)
    made: list[tuple[int, int]] = []
    graph_of = FastEngine._graph_of

    def noted(self: FastEngine, step: Any, *, steps: int, batch_size: int) -> Any:
        made.append((steps, batch_size))
        return graph_of(self, step, steps=steps, batch_size=batch_size)

    monkeypatch.setattr(FastEngine, "_graph_of", noted)
    engine.prepare()
    assert made == shapes
    assert engine.settings["cuda_graph_steps"] == max(steps for steps, _ in shapes)


class ReplayedPrediction:
    """Stands for the graph of a prediction, whose result the next replay overwrites."""

    def __init__(self, predict: Callable[..., Any], images: torch.Tensor, _pool: object) -> None:
        self.shape, self._predict = images.shape, predict
        self._logits = predict(images)

    def replay(self, images: torch.Tensor) -> torch.Tensor:
        return self._logits.copy_(self._predict(images))


def test_captured_evaluation_finds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled, too; both splits are smaller than a batch of evaluation and of different sizes."""
    made: list[ReplayedPrediction] = []

    def capture(*given: Any) -> ReplayedPrediction:
        made.append(ReplayedPrediction(*given))
        return made[-1]

    engine = make_engine()
    first_losses(engine)
    expected = [engine.evaluate(split) for split in ("validation", "test")]
    pretend_to_capture(monkeypatch, ReplayedSteps)
    monkeypatch.setattr(fast_module, "capture_prediction", capture)
    engine._graphs, engine._pool, engine._compiled = [object()], None, object()
    engine._prepare_evaluation()
    assert not engine.flags, engine.flags[0].message
    assert sorted(len(engine._predictions[shape]._logits) for shape in engine._predictions) == [
        287, 360
    ]  # fmt: skip
    got = [engine.evaluate(split) for split in ("validation", "test")]
    for before, after in zip(expected, got, strict=True):
        assert after.confusion_KK.tolist() == before.confusion_KK.tolist()
        assert after.mean_loss == pytest.approx(before.mean_loss, rel=1e-5)


def test_evaluation_that_cannot_be_captured_is_launched(monkeypatch: pytest.MonkeyPatch) -> None:
    """One warning, and the same scores."""
    engine = make_engine()
    first_losses(engine)
    expected = engine.evaluate("test")

    def capture(*_given: Any) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(fast_module, "capture_prediction", capture)
    engine._graphs, engine._pool = [object()], None
    engine._prepare_evaluation()
    (flag,) = engine.flags
    assert flag.kind == "evaluation_not_captured"
    assert engine.evaluate("test").confusion_KK.tolist() == expected.confusion_KK.tolist()


@pytest.mark.parametrize("captured", [False, True])
def test_rehearsing_changes_nothing(monkeypatch: pytest.MonkeyPatch, captured: bool) -> None:
    """Neither weights, nor statistics, nor the order of the images."""
    expected = first_losses(make_engine(), steps=30)
    if captured:
        pretend_to_capture(monkeypatch, ReplayedSteps)
    engine = make_engine()
    engine.prepare()
    with engine._undone():
        engine._rehearse()
    engine.optimizer = engine.build_optimizer(engine.model)
    engine.model.train()
    torch.manual_seed(engine.seed)
    assert first_losses(engine, steps=30) == pytest.approx(expected, rel=1e-6)


def test_failed_capture_gives_its_memory_pool_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the allocator believes for ever that a capture is under way, and frees nothing."""
    calls: list[tuple[Any, ...]] = []

    def note(name: str) -> Callable[..., None]:
        return lambda *given: calls.append((name, *given))

    class Generator:
        def graphsafe_set_state(self, _state: object) -> None:
            calls.append(("generator",))

        graphsafe_get_state = note("fresh state")

    monkeypatch.setattr(torch.cuda, "current_stream", lambda _device: "the stream before")
    monkeypatch.setattr(torch.cuda, "set_stream", note("stream"))
    monkeypatch.setattr(torch.cuda, "default_generators", [Generator()])
    monkeypatch.setattr(torch, "Generator", lambda device: Generator())
    for name in ("_cuda_endAllocateToPool", "_cuda_releasePool"):
        monkeypatch.setattr(torch._C, name, note(name), raising=False)
    with (
        pytest.raises(RuntimeError, match="not permitted"),
        graphs._usable_after_failure(torch.device("cuda", 0), "the pool"),
    ):
        raise RuntimeError("operation not permitted when stream is capturing")
    assert calls[0] == ("stream", "the stream before")
    assert calls[-2:] == [
        ("_cuda_endAllocateToPool", 0, "the pool"), ("_cuda_releasePool", 0, "the pool")
    ]  # fmt: skip


class FakeGraph:
    """Stands for a CUDA graph: remembers what it was given."""

    batch_size = 16
    peak_bytes = 0

    def __init__(self, steps: int, log: list[tuple[int, int]]) -> None:
        self.steps, self._log = steps, log

    def replay(self, rows_KB: torch.Tensor) -> torch.Tensor:
        self._log.append(tuple(rows_KB.shape))
        return torch.ones(len(rows_KB))


def expected_chunks(chunk_images: int | None, steps: int) -> range:
    """Return how many of 1,150 images some steps of 16 images reach."""
    return range(0, min(1150, steps * 16), chunk_images or 1150)


@pytest.mark.parametrize(
    ("steps", "chunk_images", "expected"),
    [
        (72, None, [(25, 16), (25, 16), *[(1, 16)] * 21, (1, 14)]),
        (30, None, [(25, 16), *[(1, 16)] * 5]),
        (3, None, [(1, 16)] * 3),
        (72, 640, [(25, 16), *[(1, 16)] * 15, (25, 16), *[(1, 16)] * 6, (1, 14)]),
        (40, 640, [(25, 16), *[(1, 16)] * 15]),
    ],
)
def test_an_epoch_is_cut_into_graphs_single_steps_and_a_short_batch(
    monkeypatch: pytest.MonkeyPatch,
    steps: int,
    chunk_images: int | None,
    expected: list[tuple[int, int]],
) -> None:
    """1,150 images in batches of 16 are 71 whole ones and one of 14: each image once."""
    monkeypatch.setattr(memory, "chunk_images", lambda *given, **named: chunk_images)
    engine = make_engine()
    engine.prepare()
    engine.load_data()
    log: list[tuple[int, int]] = []
    engine._graphs = [FakeGraph(1, log), FakeGraph(25, log)]
    monkeypatch.setattr(
        engine, "_step_on_rows", lambda rows: log.append((1, len(rows))) or torch.ones(())
    )
    chunks = []
    split = engine.data.train
    shuffled = split.chunks
    split.chunks = lambda order: (chunks.append(chunk) or chunk for chunk in shuffled(order))
    engine.data_wait_seconds = 0.0
    images = [count for _, counts in engine.train_blocks(steps) for count in counts]
    assert log == expected
    assert len(chunks) == len(expected_chunks(chunk_images, steps))  # no more than are trained
    assert engine.data_wait_seconds > 0
    assert len(images) == steps
    assert sum(images) == sum(k * b for k, b in expected)
