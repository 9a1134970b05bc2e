"""The execution of `fast`: warm-up undone, precision chosen, data in chunks."""

from __future__ import annotations

import copy

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")

from torch import nn  # noqa: E402

from cnnperf.catalog.specs import Case, Recipe  # noqa: E402
from cnnperf.models import build_model  # noqa: E402
from cnnperf.training.engines.fast import device_data as memory  # noqa: E402
from cnnperf.training.engines.fast import fallbacks, trials  # noqa: E402
from cnnperf.training.engines.fast.engine import FastEngine  # noqa: E402
from cnnperf.training.engines.fast.graphs import Snapshot, reset_optimizer  # noqa: E402
from tests.training.fast_engines import CPU, first_losses, ignore, make_engine  # noqa: E402

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
