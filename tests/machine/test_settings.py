"""The settings of torch and of the environment, against torch's own answers."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from cnnperf.machine import flags, settings
from cnnperf.machine.flags import TORCH_DEFAULT_TF32
from cnnperf.machine.settings import read_settings
from cnnperf.record.environment import Settings
from tests.machine.helpers import needs_torch


@needs_torch
def test_defaults_are_torchs_defaults(torch_report: dict[str, Any]) -> None:
    """TF32 off for products and on for convolutions, nothing deterministic, no autocast."""
    seen = torch_report["default"]
    assert (seen["tf32_matmul"], seen["tf32_cudnn"]) == (False, True)
    assert seen["float32_matmul_precision"] == "highest"
    assert (seen["cudnn_benchmark"], seen["deterministic_algorithms"]) == (False, False)
    assert seen["autocast_dtype"] is None
    assert seen["torch_threads"] == torch_report["threads"]
    assert flags.tf32_flags(Settings(**seen), TORCH_DEFAULT_TF32) == []


@needs_torch
def test_settings_follow_what_was_switched_on(torch_report: dict[str, Any]) -> None:
    """The old TF32 switch, cuDNN's flags, determinism, threads and autocast."""
    seen = torch_report["high"]
    assert (seen["tf32_matmul"], seen["float32_matmul_precision"]) == (True, "high")
    assert seen["cudnn_benchmark"]
    assert seen["cudnn_deterministic"]
    assert seen["deterministic_algorithms"]
    assert seen["torch_threads"] == 1
    assert torch_report["autocast"]["autocast_dtype"] == "bfloat16"


@needs_torch
def test_tf32_is_known_even_where_both_of_torchs_apis_were_used(
    torch_report: dict[str, Any],
) -> None:
    """The old one then raises; warnings were errors in that process, and none came up."""
    off, on = torch_report["mixed_off"], torch_report["mixed_on"]
    assert (off["tf32_matmul"], off["tf32_cudnn"]) == (False, False)
    assert (on["tf32_matmul"], on["tf32_cudnn"]) == (True, False)


def test_a_torch_without_the_new_tf32_api_is_asked_by_the_old_one() -> None:
    """And a torch that knows neither gives None."""
    old = SimpleNamespace(matmul=SimpleNamespace(allow_tf32=True))
    torch = SimpleNamespace(backends=SimpleNamespace(cuda=old))
    assert settings.tf32_matmul(torch) is True
    assert settings.tf32_cudnn(torch) is None


def test_settings_without_torch_are_those_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Allocator and visible devices are variables; torch's own flags stay None."""
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.delenv("PYTORCH_ALLOC_CONF", raising=False)
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    seen = read_settings(device="cpu", with_torch=False)
    assert seen.model_dump(exclude_none=True, exclude={"cpu_affinity_cores"}) == {
        "device": "cpu",
        "allocator_config": "expandable_segments:True",
        "visible_devices": "3",
    }
