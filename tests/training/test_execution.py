"""The execution of `fast`: compiled, in chunks, in graphs, and its fallbacks."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")

from torch import nn  # noqa: E402
from torch._dynamo.utils import counters  # noqa: E402
from torch._inductor import config as inductor  # noqa: E402

from cnnperf.catalog.specs import Case, Recipe  # noqa: E402
from cnnperf.errors import UsageError  # noqa: E402
from cnnperf.models import build_model  # noqa: E402
from cnnperf.training.engines.fast import compilation, fallbacks, graphs, trials  # noqa: E402
from cnnperf.training.engines.fast import device_data as memory  # noqa: E402
from cnnperf.training.engines.fast import engine as fast_module  # noqa: E402
from cnnperf.training.engines.fast.engine import FastEngine  # noqa: E402
from cnnperf.training.engines.fast.graphs import Snapshot, reset_optimizer  # noqa: E402

CPU = torch.device("cpu")


def ignore(step: int, loss: float) -> None:
    """An observer that does not care."""


def make_engine(recipe: dict[str, Any] | None = None, **case: Any) -> FastEngine:
    """An engine for the modified VGG on digits, not yet prepared.

    It compiles only where that is asked for: on a busy machine a training may look long enough.
    """
    made = Case.model_validate(
        {
            "model": "modified_vgg", "dataset": "digits", "resolution": 28, "engine": "fast",
            "precision": "float32", "recipe": {"name": "test", "batch_size": 16, **(recipe or {})},
            "compile": "off", **case,
        }
    )  # fmt: skip
    return FastEngine(case=made, seed=3, device=CPU, data_dir=".")


def first_losses(engine: FastEngine, steps: int = 5) -> list[float]:
    """Losses of the first steps of a training."""
    seen: list[float] = []
    if not hasattr(engine, "model"):
        engine.prepare()
    engine.load_data()
    for losses_K, _ in engine.train_blocks(steps):
        seen.extend(losses_K.tolist())
    return seen


# --- undoing warm-up ------------------------------------------------------------------------------


@pytest.mark.parametrize("fused", [False, True])
def test_restored_model_trains_like_a_fresh_one(fused: bool) -> None:
    """Weights, running statistics and Adam's moments, bit for bit, and in the same memory."""
    torch.manual_seed(0)
    model = build_model("modified_resnet", in_channels=1)
    untouched = copy.deepcopy(model)
    images, labels = torch.randn(4, 1, 28, 28), torch.arange(4)

    def step(net: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images), labels).backward()
        optimizer.step()

    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=fused)
    addresses = [tensor.data_ptr() for tensor in model.state_dict().values()]
    snapshot = Snapshot(model)
    for _ in range(3):
        step(model, optimizer)
    assert not torch.equal(next(model.parameters()), next(untouched.parameters()))
    snapshot.restore()
    reset_optimizer(optimizer)
    assert [tensor.data_ptr() for tensor in model.state_dict().values()] == addresses
    fresh = torch.optim.Adam(untouched.parameters(), lr=1e-3, fused=fused)
    for _ in range(2):
        step(model, optimizer)
        step(untouched, fresh)
    for name, tensor in untouched.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name


# --- compiling ---------------------------------------------------------------------------------


@inductor.patch(fallback_random=True)  # pytest's monkeypatch would delete the setting afterwards
def test_compiled_training_is_the_same_training() -> None:
    """Losses of the first steps agree to rounding; the record says that and how it was compiled.

    Dropout is made to draw as it does without compiling, which it otherwise does in its own way.
    """
    compiled = make_engine(compile="on")
    compiled.prepare()
    compiled_graphs = counters["stats"]["unique_graphs"]
    assert compiled_graphs > 0
    losses = first_losses(compiled)
    expected = first_losses(make_engine(compile="off"))
    assert losses[0] == pytest.approx(expected[0], rel=1e-5)
    assert losses == pytest.approx(expected, rel=1e-2)  # Adam's first steps let rounding grow
    assert counters["stats"]["unique_graphs"] == compiled_graphs  # nothing on the clock
    assert compiled.settings["compile_mode"] == "default"
    assert compiled.settings["compile_cache"] in ("cold", "warm")
    assert compiled.compile_seconds is not None
    assert compiled.compile_seconds > 0
    assert not compiled.flags
    phase = compiled.train_epoch(1, ignore)
    assert phase.images == 1150  # the last, short batch is trained too, without compiling for it


def test_torchs_cache_finds_what_was_compiled_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repeat must not compile again what another one did, nor find it with other switches."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    layers = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
    model = nn.Sequential(*layers, nn.Linear(18, 3))
    images, labels = torch.randn(2, 1, 8, 8), torch.arange(2)
    found = []
    for off in ("", "", "norm", "pool", ""):
        monkeypatch.setenv("CNNPERF_FAST_OFF", off)
        torch._dynamo.reset()
        counters.clear()
        compiled = compilation.compile_forward_loss(model, nn.functional.cross_entropy)
        compiled(images, labels).backward()
        found.append((compilation.cache_state(), counters["aot_autograd"]["autograd_cache_hit"]))
    missed, hit = ("cold", 0), ("warm", 1)  # of the code, and of the graph before it
    assert found == [missed, hit, missed, missed, hit]


def break_compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a C++ compiler, the error comes with the first call."""

    def compile_(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        def fail(*arguments: Any) -> None:
            raise RuntimeError("no working C++ compiler\nand pages of advice")

        return fail

    monkeypatch.setattr(compilation.torch, "compile", compile_)


def test_failed_compilation_gives_a_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Under `auto`; the weights are those of a training that never tried."""
    expected = first_losses(make_engine(compile="off"))
    break_compiling(monkeypatch)
    monkeypatch.setattr(FastEngine, "_is_to_be_compiled", lambda self, seconds: True)
    engine = make_engine(compile="auto")
    assert first_losses(engine) == expected
    (flag,) = engine.flags
    assert flag.kind == "not_compiled"
    assert "RuntimeError: no working C++ compiler)" in flag.message
    assert engine.settings.get("compile_mode") is None
    assert engine.compile_seconds is None


def test_failed_compilation_is_an_error_if_requested(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One sentence with the reason and the way out."""
    break_compiling(monkeypatch)
    with pytest.raises(UsageError, match=r"no working C\+\+ compiler.*--cnnperf-compile=auto"):
        make_engine(compile="on").prepare()


@pytest.mark.parametrize(
    ("epochs", "compiled_speed", "tried", "taken"),
    [(1, 0.5, False, False), (10_000, 0.5, True, True), (10_000, 1.0, True, False)],
)
def test_auto_compiles_on_a_cpu_only_if_a_trial_of_long_training_pays(
    monkeypatch: pytest.MonkeyPatch, epochs: int, compiled_speed: float, tried: bool, taken: bool
) -> None:
    """Ten thousand epochs of digits are long enough; a step must be 5 % faster."""
    trials = []

    def trial(self: FastEngine, *, compiled: bool = False) -> float:
        trials.append(compiled)
        return compiled_speed if compiled else 1.0

    monkeypatch.setattr(FastEngine, "_trial_seconds", trial)
    engine = make_engine({"epochs": epochs}, compile="auto")
    monkeypatch.setattr(engine, "_compile", lambda: setattr(engine, "_compiled", 1))
    engine.prepare()
    assert (True in trials) == tried
    assert (engine._compiled == 1) == taken


# --- precision ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("precision", "hopeless", "tried"),
    [
        ("auto", True, [None]),
        ("auto", False, [None, torch.bfloat16]),
        ("bfloat16", True, [torch.bfloat16]),
    ],
)
def test_auto_skips_hopeless_bfloat16(
    monkeypatch: pytest.MonkeyPatch, precision: str, hopeless: bool, tried: list[torch.dtype | None]
) -> None:
    """A CPU without it would take minutes to find that out, in every repeat."""
    seen: list[torch.dtype | None] = []

    def trial(self: FastEngine, *, compiled: bool = False) -> float:
        seen.append(self.autocast_dtype)
        return 1.0

    monkeypatch.setattr(FastEngine, "_trial_seconds", trial)
    monkeypatch.setattr(trials, "is_hopeless", lambda device: hopeless)
    make_engine(precision=precision).prepare()
    assert seen == tried


@pytest.mark.parametrize(
    ("capability", "precision", "fails", "tried", "chosen"),
    [
        ((9, 0), "auto", False, [torch.bfloat16], "bfloat16"),
        ((8, 0), "auto", False, [torch.bfloat16], "bfloat16"),
        ((9, 0), "auto", True, [torch.bfloat16, None], None),
        ((7, 5), "auto", False, [None], None),
        ((9, 0), "float32", False, [None], None),
        ((7, 5), "bfloat16", False, [torch.bfloat16], "bfloat16"),
    ],
)
def test_a_gpu_with_units_for_bfloat16_takes_it_without_a_race(
    monkeypatch: pytest.MonkeyPatch,
    capability: tuple[int, int],
    precision: str,
    fails: bool,
    tried: list[torch.dtype | None],
    chosen: str | None,
) -> None:
    """A trial on cold clocks could choose differently in each repeat; here one step is tried."""
    seen: list[torch.dtype | None] = []

    def trial(self: FastEngine, *, compiled: bool = False) -> float:
        seen.append(self.autocast_dtype)
        if fails and self.autocast_dtype is not None:
            raise RuntimeError("no kernel")
        return 1.0

    monkeypatch.setattr(FastEngine, "_trial_seconds", trial)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: capability)
    engine = make_engine(precision=precision)
    engine.device = torch.device("cuda", 0)
    engine._choose_precision()
    assert seen == tried
    assert engine.settings["autocast_dtype"] == chosen
    assert [flag.kind for flag in engine.flags] == ["no_bfloat16"] * fails


@pytest.mark.parametrize(("times_slower", "hopeless"), [(0.5, False), (2.0, False), (9.0, True)])
def test_bfloat16_is_hopeless_if_several_times_slower(
    monkeypatch: pytest.MonkeyPatch, times_slower: float, hopeless: bool
) -> None:
    """Emulation, which takes twice as long, may still pay; the number of threads stays."""
    threads = torch.get_num_threads()
    seconds = {torch.float32: 1.0, torch.bfloat16: times_slower}
    monkeypatch.setattr(fallbacks, "_convolution_seconds", seconds.__getitem__)
    assert fallbacks.is_hopeless(CPU) == hopeless
    assert torch.get_num_threads() == threads
    assert not fallbacks.is_hopeless(torch.device("cuda"))


def test_a_convolution_can_be_timed_in_both_precisions() -> None:
    """Both times are processor times above zero."""
    assert all(fallbacks._convolution_seconds(d) > 0 for d in (torch.float32, torch.bfloat16))


# --- memory ------------------------------------------------------------------------------------


def test_a_data_set_that_does_not_fit_is_streamed_and_trains_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Same order, same losses; the warning says how much was needed and how much there was."""
    whole = make_engine()
    expected = first_losses(whole, steps=20)
    evaluated = whole.evaluate("test")
    needed = (1150 + 287 + 360) * 28 * 28
    monkeypatch.setattr(memory, "free_memory_bytes", lambda device: needed // 2)
    streamed = make_engine()
    assert first_losses(streamed, steps=20) == expected
    (flag,) = streamed.flags
    assert flag.kind == "streamed"
    assert flag.value == needed
    assert "needs 1 MiB" in flag.message
    assert "688 KiB free" in flag.message
    chunk = streamed.data.train.chunk_images
    assert chunk % 16 == 0
    assert 3 * chunk * 28 * 28 <= needed // 4
    result = streamed.evaluate("test")
    assert result.confusion_KK.tolist() == evaluated.confusion_KK.tolist()
    phase = streamed.train_epoch(2, ignore)
    assert phase.images == 1150


def test_a_data_set_that_fits_is_not_streamed() -> None:
    """Digits are a megabyte."""
    engine = make_engine()
    engine.prepare()
    assert engine.data.train.is_whole
    assert not engine.flags, engine.flags[0].message


# --- graphs, without a GPU: all but the capturing itself ------------------------------------------


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


def test_default_case_chooses_its_execution_by_measurement() -> None:
    """Precision and compiling are `auto`."""
    case = Case(model="m", dataset="d", resolution=28, recipe=Recipe(name="report"))
    assert (case.precision, case.compile, case.variant) == ("auto", "auto", None)


def test_a_warning_names_the_cause_that_torch_puts_on_the_next_line() -> None:
    """Torch's own first line only says which backend failed."""
    error = RuntimeError("backend='inductor' raised:\nValueError: no compiler\nand advice")
    expected = "RuntimeError: backend='inductor' raised: ValueError: no compiler"
    assert fallbacks.first_line(error) == expected
    assert fallbacks.first_line(ValueError("no compiler\nand advice")) == "ValueError: no compiler"
