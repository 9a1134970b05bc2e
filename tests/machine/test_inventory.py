"""The whole environment: collected, written to JSON, and on machines that report nothing."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from cnnperf.machine import flags, inventory
from cnnperf.machine.inventory import collect_environment, read_settings
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
from tests.machine.helpers import ROOT, linux_only, run_python

PTRACE_SEIZE = 0x4206
"""Attaches without a stop (ptrace(2))."""


def test_collecting_imports_neither_torch_nor_nvml_before_it_must() -> None:
    """Importing the package loads neither; collecting without torch never loads torch."""
    code = (
        "import sys\n"
        "from cnnperf.machine.inventory import collect_environment\n"
        "from cnnperf.machine.state import read_state\n"
        "print('pynvml' in sys.modules, 'torch' in sys.modules)\n"
        "collect_environment(device='cuda'); read_state(None)\n"
        "print('torch' in sys.modules)"
    )
    assert run_python(code).split() == ["False", "False", "False"]


def test_an_environment_is_unchanged_by_json(install_nvml: InstallNvml) -> None:
    """Nothing is lost on the way to a record and back, and the future's fields are ignored."""
    install_nvml(fake_gpu())
    seen = collect_environment(device="cuda")
    assert seen.hardware.gpu.name == "NVIDIA H200"
    assert seen.hardware.gpu_count == 1
    assert Environment.model_validate_json(seen.model_dump_json()) == seen
    later = seen.model_dump() | {"weather": "rain"}
    assert Environment.model_validate(later) == seen


def test_states_and_flags_are_unchanged_by_json(install_nvml: InstallNvml) -> None:
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
    second = collect_environment(device="cuda:1")
    first = collect_environment(device="cuda")
    assert (second.hardware.gpu.index, first.hardware.gpu.index) == (1, 0)


def test_the_uuid_that_torch_reports_chooses_the_gpu(install_nvml: InstallNvml) -> None:
    """Torch prints UUIDs without a prefix; they count more than the order of the devices."""
    install_nvml(fake_gpu(0, name="NVIDIA T1000"), fake_gpu(1))
    uuid = "1aaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
    assert collect_environment(device="cuda").hardware.gpu is None
    assert collect_environment(device="cuda", gpu_uuid=uuid).hardware.gpu.index == 1


def test_settings_are_those_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Allocator and visible devices are variables; torch's own flags stay None."""
    monkeypatch.delenv("PYTORCH_ALLOC_CONF", raising=False)
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.trim_threshold=1")
    seen = read_settings(device="cpu")
    of_the_machine = {"cpu_affinity_cores", "cpu_quota_cores", "variables", "tracers"}
    assert seen.model_dump(exclude_none=True, exclude=of_the_machine) == {
        "device": "cpu",
        "allocator_config": "expandable_segments:True",
        "malloc_tunables": "glibc.malloc.trim_threshold=1",
        "visible_devices": "3",
    }
    monkeypatch.setenv("PYTORCH_ALLOC_CONF", "backend:native")
    assert read_settings(device="cpu").allocator_config == "backend:native"


@pytest.mark.usefixtures("no_nvml")
def test_nothing_raises_on_a_machine_that_reports_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """No /proc, no /sys, no tools, no packages: fields are None, that is all."""

    def fail(*arguments: object, **keywords: object) -> None:
        raise OSError("not here")

    monkeypatch.setattr(psutil, "PROCFS_PATH", "/nonexistent", raising=False)
    monkeypatch.setattr(subprocess, "run", fail)
    monkeypatch.setattr(Path, "read_text", fail)
    monkeypatch.setattr(Path, "glob", fail)
    monkeypatch.setattr(os, "confstr", fail, raising=False)
    for name in ("cpu_count", "virtual_memory", "cpu_times", "cpu_freq", "getloadavg", "Process"):
        monkeypatch.setattr(psutil, name, fail)
    monkeypatch.setattr(inventory.importlib.metadata, "version", fail)
    seen = collect_environment(device="cuda")
    assert seen.hardware.cpu_logical_cores is None
    assert seen.software.torch is None
    assert seen.settings.tf32_matmul is None
    with StateSampler(None) as sampler:
        assert read_state(None).host.cpu_busy_percent is None
    assert sampler.summary().others_cpu_busy_percent is None


TRACERS = "from cnnperf.machine.inventory import active_tracers as a; print(a())"


def test_nothing_watches_a_plain_process() -> None:
    """None, so that records of older versions compare as equal."""
    assert run_python(f"import sys; sys.settrace(None); {TRACERS}").strip() == "None"


@pytest.mark.parametrize(
    "start",
    ["import sys, trace; sys.settrace(trace.Trace(trace=0).globaltrace)",
     "import sys, trace; sys.setprofile(trace.Trace(trace=0).globaltrace)"],
)  # fmt: skip
def test_functions_that_trace_are_named_by_their_module(start: str) -> None:
    """A debugger and a profiler."""
    assert run_python(f"{start}; {TRACERS}").strip() == "('trace',)"


def test_coverage_that_starts_by_itself_is_named(tmp_path: Path) -> None:
    """As pytest-cov starts it in subprocesses; it traces by a function or, newer, by monitoring."""
    pytest.importorskip("coverage", reason="coverage is not installed")
    (tmp_path / "sitecustomize.py").write_text("import coverage; coverage.process_startup()")
    (tmp_path / "rc").write_text(f"[run]\ndata_file = {tmp_path}/data\n")
    search = os.pathsep.join((str(tmp_path), str(ROOT)))
    printed = run_python(TRACERS, PYTHONPATH=search, COVERAGE_PROCESS_START=str(tmp_path / "rc"))
    assert "coverage" in printed


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring is new in 3.12")
def test_a_tool_that_monitors_is_named() -> None:
    """Debuggers use it from Python 3.12 on."""
    assert run_python(f"import sys; sys.monitoring.use_tool_id(0, 'pydevd'); {TRACERS}") == (
        "('pydevd',)\n"
    )


@linux_only
def test_a_debugger_of_the_whole_process_is_named() -> None:
    """Traced by this process, as by gdb or strace."""
    child = subprocess.Popen(
        [sys.executable, "-c", f"input(); {TRACERS}"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    if ctypes.CDLL(None, use_errno=True).ptrace(PTRACE_SEIZE, child.pid, None, None) != 0:
        child.kill()
        pytest.skip(f"ptrace is forbidden here: {os.strerror(ctypes.get_errno())}")
    printed, _ = child.communicate("\n", timeout=60)
    own_name = Path("/proc/self/comm").read_text().strip()
    assert printed.strip() == repr((own_name,))
