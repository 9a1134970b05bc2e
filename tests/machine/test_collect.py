"""The environment as a whole: collected, written to JSON, and on machines that tell nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from cnnperf.machine import flags, software
from cnnperf.machine.inventory import collect_environment, read_hardware
from cnnperf.machine.nvml import open_gpu
from cnnperf.machine.state import StateSampler, read_state
from cnnperf.record.environment import (
    DeviceState,
    DuringState,
    Environment,
    Gpu,
    Hardware,
    HostState,
    Settings,
    Software,
    State,
)
from tests.machine.fake_nvml import InstallNvml, fake_gpu
from tests.machine.helpers import run_python


def test_collecting_imports_neither_torch_nor_nvml_before_it_must() -> None:
    """Importing the package loads neither; collecting without torch never loads torch."""
    code = (
        "import sys\n"
        "from cnnperf.machine.inventory import collect_environment\n"
        "from cnnperf.machine.state import read_state\n"
        "print('pynvml' in sys.modules, 'torch' in sys.modules)\n"
        "collect_environment(device='cuda', with_torch=False); read_state(None)\n"
        "print('torch' in sys.modules)"
    )
    assert run_python(code).split() == ["False", "False", "False"]


def test_an_environment_survives_json(install_nvml: InstallNvml) -> None:
    """Nothing is lost on the way to a record and back, and the future's fields are ignored."""
    install_nvml(fake_gpu())
    seen = collect_environment(device="cuda", with_torch=False)
    assert seen.hardware.gpu.name == "NVIDIA H200"
    assert seen.hardware.gpu_count == 1
    assert Environment.model_validate_json(seen.model_dump_json()) == seen
    later = seen.model_dump() | {"weather": "rain"}
    assert Environment.model_validate(later) == seen


def test_states_and_flags_survive_json(install_nvml: InstallNvml) -> None:
    """Before, during, and what was made of them."""
    install_nvml(fake_gpu(reasons=0x8))
    with StateSampler(open_gpu(0), interval_seconds=60) as sampler:
        before = read_state(open_gpu(0), [os.getpid()], window_seconds=0.01)
    during = sampler.summary()
    (flag, *_) = flags.run_flags(during=during, before=before)
    for model in (before, during, flag):
        assert type(model).model_validate_json(model.model_dump_json()) == model


def test_every_field_is_optional_and_frozen() -> None:
    """A model of nothing is valid; a made one does not change."""
    for model in (Gpu, Hardware, Software, Settings, Environment,
                  DeviceState, HostState, State, DuringState):  # fmt: skip
        empty = model()
        with pytest.raises(ValueError, match="frozen"):
            setattr(empty, next(iter(model.model_fields)), None)


def test_the_device_number_chooses_the_gpu(install_nvml: InstallNvml) -> None:
    """`cuda:1` is the second visible GPU, `cuda` the first."""
    install_nvml(fake_gpu(0), fake_gpu(1))
    second = collect_environment(device="cuda:1", with_torch=False)
    first = collect_environment(device="cuda", with_torch=False)
    assert (second.hardware.gpu.index, first.hardware.gpu.index) == (1, 0)


@pytest.mark.usefixtures("no_nvml")
def test_torch_describes_the_gpu_where_nvml_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also the only source of the L2 size."""
    properties = SimpleNamespace(
        name="NVIDIA H200", major=9, minor=0, multi_processor_count=132, total_memory=150,
        L2_cache_size=60,
    )  # fmt: skip
    cuda = SimpleNamespace(
        get_device_properties=lambda ordinal: properties, is_initialized=lambda: False
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    assert read_hardware(device="cuda", with_torch=True).gpu == Gpu(
        name="NVIDIA H200",
        compute_capability="9.0",
        sm_count=132,
        memory_bytes=150,
        l2_cache_bytes=60,
    )


@pytest.mark.usefixtures("no_nvml")
def test_nothing_raises_on_a_machine_that_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """No /proc, no /sys, no tools, no packages, a broken torch: fields are None, that is all."""

    def fail(*arguments: object, **keywords: object) -> None:
        raise OSError("not here")

    monkeypatch.setattr(psutil, "PROCFS_PATH", "/nonexistent", raising=False)
    monkeypatch.setattr(subprocess, "run", fail)
    monkeypatch.setattr(Path, "read_text", fail)
    monkeypatch.setattr(Path, "glob", fail)
    monkeypatch.setattr(os, "confstr", fail, raising=False)
    for name in ("cpu_count", "virtual_memory", "cpu_times", "cpu_freq", "getloadavg", "Process"):
        monkeypatch.setattr(psutil, name, fail)
    monkeypatch.setattr(software.importlib.metadata, "version", fail)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace())
    seen = collect_environment(device="cuda", with_torch=True)
    assert seen.hardware.cpu_logical_cores is None
    assert seen.software.torch is None
    assert seen.settings.tf32_matmul is None
    with StateSampler(None) as sampler:
        assert read_state(None).host.cpu_busy_percent is None
    assert sampler.summary().others_cpu_busy_percent is None
