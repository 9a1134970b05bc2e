"""A GPU that torch cannot use stops a run, and the sentence names what may hide it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from cnnperf.errors import UsageError
from cnnperf.run.session import RunSession
from tests.examples import example_environment


def _sentence(monkeypatch: pytest.MonkeyPatch) -> str:
    """What is said where NVML sees a GPU and the worker found none."""
    monkeypatch.setattr("cnnperf.run.session.finds_accelerator", lambda: True)
    run: Any = SimpleNamespace(
        probed=SimpleNamespace(device="cpu", environment=example_environment(gpu=None)),
        plan=SimpleNamespace(runnable=["a case"]),
        settings=SimpleNamespace(device="auto"),
    )
    with pytest.raises(UsageError) as caught:
        RunSession._check_accelerator_is_used(cast("RunSession", run))
    return str(caught.value)


def test_the_variable_that_hides_a_gpu_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another build of torch would not help there."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    assert "CUDA_VISIBLE_DEVICES=7 names one that is there" in _sentence(monkeypatch)


def test_a_variable_that_is_not_set_is_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left is the build of torch, or the CPU."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    told = _sentence(monkeypatch)
    assert "CUDA_VISIBLE_DEVICES" not in told
    assert "--cnnperf-device=cpu" in told
