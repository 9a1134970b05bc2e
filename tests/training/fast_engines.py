"""Engines of `fast` for tests of its execution: one case, its losses, and a broken compiler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")

from cnnperf.catalog.specs import Case  # noqa: E402
from cnnperf.training.engines.fast import compilation  # noqa: E402
from cnnperf.training.engines.fast.engine import FastEngine  # noqa: E402

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


def break_compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a C++ compiler, the error comes with the first call."""

    def compile_(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        def fail(*arguments: Any) -> None:
            raise RuntimeError("no working C++ compiler\nand pages of advice")

        return fail

    monkeypatch.setattr(compilation.torch, "compile", compile_)
