"""`fast` compiled: the same training, found again by torch's cache, or a warning."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")

from torch import nn  # noqa: E402
from torch._dynamo.utils import counters  # noqa: E402
from torch._inductor import config as inductor  # noqa: E402

from cnnperf.errors import UsageError  # noqa: E402
from cnnperf.training.engines.fast import compilation  # noqa: E402
from cnnperf.training.engines.fast.engine import FastEngine  # noqa: E402
from tests.training.fast_engines import break_compiling, first_losses, ignore, make_engine  # noqa: E402


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
