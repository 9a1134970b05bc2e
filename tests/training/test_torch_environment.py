"""Torch's part of the environment, against torch's own answers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from cnnperf.machine import flags, nvml  # noqa: E402
from cnnperf.record.environment import Gpu, Settings, Software  # noqa: E402
from cnnperf.training.worker import torch_environment  # noqa: E402
from cnnperf.training.worker.torch_environment import environment_with_torch  # noqa: E402
from tests.machine.fake_nvml import FakeNvml, fake_gpu  # noqa: E402

CODE = """
import json, warnings
warnings.simplefilter("error")
import torch
from cnnperf.training.worker.torch_environment import environment_with_torch, settings_with_torch

def read(device="cuda"):
    return settings_with_torch(torch.device(device)).model_dump()

report = {"default": read(), "threads": torch.get_num_threads()}
report["version"] = [torch.__version__, torch.version.git_version, torch.version.cuda]
report["software"] = environment_with_torch(torch.device("cpu")).software.model_dump()
torch.backends.cudnn.benchmark = True
torch.backends.cudnn.deterministic = True
torch.use_deterministic_algorithms(True)
torch.set_num_threads(1)
with torch.autocast("cpu", dtype=torch.bfloat16):
    report["autocast"] = read("cpu")
torch.set_float32_matmul_precision("high")
report["high"] = read()
torch.backends.cuda.matmul.fp32_precision = "ieee"
torch.backends.cudnn.conv.fp32_precision = "ieee"
report["mixed_off"] = read()
torch.backends.cuda.matmul.fp32_precision = "tf32"
report["mixed_on"] = read()
print(json.dumps(report))
"""


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    """Return settings and versions as read in a process in which warnings are errors."""
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_default_settings_are_torchs_defaults(report: dict[str, Any]) -> None:
    """TF32 off for products and on for convolutions, nothing deterministic, no autocast."""
    seen = report["default"]
    assert (seen["tf32_matmul"], seen["tf32_cudnn"]) == (False, True)
    assert seen["float32_matmul_precision"] == "highest"
    assert (seen["cudnn_benchmark"], seen["deterministic_algorithms"]) == (False, False)
    assert seen["autocast_dtype"] is None
    assert seen["torch_threads"] == report["threads"]
    assert flags.tf32_flags(Settings(**seen)) == []


def test_settings_show_what_was_switched_on(report: dict[str, Any]) -> None:
    """The old TF32 switch, cuDNN's flags, determinism, threads and autocast."""
    seen = report["high"]
    assert (seen["tf32_matmul"], seen["float32_matmul_precision"]) == (True, "high")
    assert seen["cudnn_benchmark"]
    assert seen["cudnn_deterministic"]
    assert seen["deterministic_algorithms"]
    assert seen["torch_threads"] == 1
    assert report["autocast"]["autocast_dtype"] == "bfloat16"


def test_tf32_is_read_where_both_apis_were_used(report: dict[str, Any]) -> None:
    """The old API then raises."""
    off, on = report["mixed_off"], report["mixed_on"]
    assert (off["tf32_matmul"], off["tf32_cudnn"]) == (False, False)
    assert (on["tf32_matmul"], on["tf32_cudnn"]) == (True, False)


def test_a_torch_without_the_new_tf32_api_is_read_by_the_old_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A torch that has neither gives None."""
    cuda = SimpleNamespace(matmul=SimpleNamespace(allow_tf32=True))
    backends = SimpleNamespace(cuda=cuda, cudnn=SimpleNamespace())
    monkeypatch.setattr(torch_environment, "torch", SimpleNamespace(backends=backends))
    assert torch_environment.tf32_matmul() is True
    assert torch_environment.tf32_cudnn() is None


def test_versions_are_those_of_the_loaded_torch(report: dict[str, Any]) -> None:
    """Its build configuration is recorded as a hash."""
    loaded = Software(**report["software"])
    assert [loaded.torch, loaded.torch_git, loaded.cuda_runtime] == report["version"]
    assert re.fullmatch(r"[0-9a-f]{16}", loaded.torch_build_config or "")


@pytest.mark.parametrize(("number", "version"), [(92600, "9.26.0"), (90100, "9.1.0"),
                                                 (8902, "8.9.2"), (91002, "9.10.2")])  # fmt: skip
def test_cudnn_number_becomes_a_version(number: int, version: str) -> None:
    """CUDNN_VERSION of cudnn_version.h: thousands up to 8, ten thousands from 9."""
    assert torch_environment.cudnn_version(number) == version


PROPERTIES = SimpleNamespace(
    name="NVIDIA H200", major=9, minor=0, multi_processor_count=132, total_memory=150,
    L2_cache_size=60, uuid="1aaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
)  # fmt: skip


@pytest.fixture
def cuda_device(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """Return a CUDA device of which torch reports `PROPERTIES`."""
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: PROPERTIES)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return torch.device("cuda", 0)


def test_torch_describes_the_gpu_where_nvml_is_missing(
    cuda_device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is also the only source of the L2 size."""
    monkeypatch.setattr(nvml, "_library", lambda: None)
    assert environment_with_torch(cuda_device).hardware.gpu == Gpu(
        name="NVIDIA H200",
        compute_capability="9.0",
        sm_count=132,
        memory_bytes=150,
        l2_cache_bytes=60,
    )


def test_nvml_describes_the_gpu_of_torchs_uuid(
    cuda_device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NVML's fields replace torch's; the L2 size stays."""
    library = FakeNvml(fake_gpu(0, name="NVIDIA T1000"), fake_gpu(1))
    monkeypatch.setattr(nvml, "_library", lambda: library)
    gpu = environment_with_torch(cuda_device).hardware.gpu
    assert gpu is not None
    assert (gpu.index, gpu.l2_cache_bytes) == (1, 60)
    assert gpu.memory_bytes == 141 * 2**30


def test_a_cpu_run_starts_no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch is not asked for a GPU."""

    def fail(_: int) -> None:
        raise AssertionError("CUDA was started")

    monkeypatch.setattr(torch.cuda, "get_device_properties", fail)
    assert environment_with_torch(torch.device("cpu")).settings.device == "cpu"
