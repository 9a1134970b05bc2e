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
    """Torch's own answers, from one process for all tests: it parses and sets, we read."""
    code = f"""
import json, os, sys, warnings
warnings.simplefilter("error")
import torch
from cnnperf.machine.settings import read_settings
from cnnperf.machine.software import read_software

def parse(value):
    os.environ["CUDA_VISIBLE_DEVICES"] = value
    return torch.cuda._parse_visible_devices()

def read():
    return read_settings(device="cuda", with_torch=True).model_dump()

report = {{"visible": [parse(value) for value in {VISIBLE_VALUES!r}]}}
os.environ["CUDA_VISIBLE_DEVICES"] = ""
report["default"] = read()
report["threads"] = torch.get_num_threads()
report["version"] = [torch.__version__, torch.version.git_version, torch.version.cuda]
report["software"] = read_software(with_torch=True).model_dump()
torch.backends.cudnn.benchmark = True
torch.backends.cudnn.deterministic = True
torch.use_deterministic_algorithms(True)
torch.set_num_threads(1)
with torch.autocast("cpu", dtype=torch.bfloat16):
    report["autocast"] = read_settings(device="cpu", with_torch=True).model_dump()
torch.set_float32_matmul_precision("high")
report["high"] = read()
torch.backends.cuda.matmul.fp32_precision = "ieee"
torch.backends.cudnn.conv.fp32_precision = "ieee"
report["mixed_off"] = read()
torch.backends.cuda.matmul.fp32_precision = "tf32"
report["mixed_on"] = read()
print(json.dumps(report))
"""
    return json.loads(run_python(code))
