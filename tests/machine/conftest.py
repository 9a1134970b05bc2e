"""Machines with a fake NVML or none, and torch's own answers."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from cnnperf.machine import nvml
from tests.machine.fake_nvml import FakeNvml, InstallNvml
from tests.machine.helpers import VISIBLE_VALUES, run_python


@pytest.fixture
def install_nvml(monkeypatch: pytest.MonkeyPatch) -> InstallNvml:
    """Puts a fake NVML with the given GPUs in place of the library, and unsets CUDA's variables."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)

    def install(*gpus: SimpleNamespace) -> None:
        monkeypatch.setattr(nvml, "_library", lambda: FakeNvml(*gpus))

    return install


@pytest.fixture
def no_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without NVIDIA's library."""
    monkeypatch.setattr(nvml, "_library", lambda: None)


@pytest.fixture(scope="session")
def torch_report() -> dict[str, Any]:
    """Return what torch itself reports, from one process for all tests."""
    code = f"""
import json, os, torch
def parse(value):
    os.environ["CUDA_VISIBLE_DEVICES"] = value
    return torch.cuda._parse_visible_devices()
visible = [parse(value) for value in {VISIBLE_VALUES!r}]
version = [torch.__version__, torch.version.git_version, torch.version.cuda]
print(json.dumps({{"visible": visible, "version": version}}))
"""
    found: dict[str, Any] = json.loads(run_python(code))
    return found
