"""The state of the machine during a measurement: own load, other load, and the GPU's."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from types import SimpleNamespace

import psutil
import pynvml
import pytest

from cnnperf.machine import state
from cnnperf.machine.nvml import open_gpu
from cnnperf.machine.state import StateSampler, read_state
from cnnperf.record.environment import DeviceState, DuringState
from tests.machine.fake_nvml import InstallNvml, fake_gpu

SPIN = "while True: pass"


@pytest.fixture
def spinner() -> Iterator[subprocess.Popen[bytes]]:
    """A child that does nothing but start a grandchild, which keeps a core busy."""
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SPIN!r}])"
    child = subprocess.Popen([sys.executable, "-c", code])
    try:
        wait_for_grandchild(child.pid)
        yield child
    finally:
        for process in [*psutil.Process(child.pid).children(recursive=True), child]:
            process.kill()
        child.wait()


def wait_for_grandchild(pid: int) -> None:
    """Until the spinning has begun."""
    while not psutil.Process(pid).children():
        time.sleep(0.02)


def test_load_counts_as_others_unless_it_is_of_the_own_process_tree(
    spinner: subprocess.Popen[bytes],
) -> None:
    """Two samplers watch it use a second of a core: by so much they differ, and nothing else."""
    grandchild = psutil.Process(spinner.pid).children()[0]
    with (
        StateSampler(None, [os.getpid()], interval_seconds=0.2) as family,
        StateSampler(None, [], interval_seconds=0.2) as nobody,
    ):
        before_seconds = sum(grandchild.cpu_times()[:2])
        start_seconds = time.perf_counter()
        while (used_seconds := sum(grandchild.cpu_times()[:2]) - before_seconds) < 1:
            time.sleep(0.1)
        cores = os.cpu_count() * (time.perf_counter() - start_seconds)
    ours, theirs = family.summary(), nobody.summary()
    difference = theirs.others_cpu_busy_percent - ours.others_cpu_busy_percent
    assert difference > 0.3 * 100 * used_seconds / cores  # both look at moments of their own
    assert min(ours.samples, theirs.samples) >= 3


def test_the_work_of_children_that_ended_stays_our_own() -> None:
    """A parent that waited for them keeps their time, so it never turns into others'."""
    before_seconds = state.cpu_seconds(state.own_processes())
    subprocess.run([sys.executable, "-c", "sum(range(10**7))"], check=True)
    used_seconds = sum(psutil.Process().cpu_times()[2:4])
    after_seconds = state.cpu_seconds(state.own_processes())
    assert after_seconds > before_seconds
    assert after_seconds >= used_seconds


def test_an_interval_in_which_own_processes_vanish_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Their time leaves the tree with them; counting it would blame others."""
    machine = iter((10 * step, 40 * step) for step in range(4))
    own = iter([100, 109, 0, 10])
    monkeypatch.setattr(state, "read_cpu_times", lambda: next(machine))
    monkeypatch.setattr(state, "cpu_seconds", lambda processes: next(own))
    others = state.OthersCpu()
    for _ in range(4):
        others.update([])
    assert others.percent == pytest.approx(100 * (1 + 0) / 80)


@pytest.mark.parametrize(("core_seconds", "percent"), [(0.49, None), (0.5, 40.0)])
def test_load_of_others_is_none_until_enough_time_was_seen(
    monkeypatch: pytest.MonkeyPatch, core_seconds: float, percent: float | None
) -> None:
    """A few ticks of the kernel's clock are no percentage: two looks, so far apart."""
    machine = iter((0.4 * core_seconds * look, core_seconds * look) for look in range(2))
    monkeypatch.setattr(state, "read_cpu_times", lambda: next(machine))
    with StateSampler(None, [], interval_seconds=3600) as sampler:
        pass
    seen = sampler.summary()
    assert seen.samples == 2
    assert seen.others_cpu_busy_percent == (percent and pytest.approx(percent))


def test_waiting_for_a_disk_is_idle_and_guests_count_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux includes guest in user and guest_nice in nice: man 5 proc."""
    times = SimpleNamespace(
        _asdict=lambda: {"user": 10.0, "nice": 4.0, "system": 2.0, "idle": 80.0, "iowait": 5.0,
                         "steal": 1.0, "guest": 3.0, "guest_nice": 2.0}
    )  # fmt: skip
    monkeypatch.setattr(state.psutil, "cpu_times", lambda: times)
    assert state.read_cpu_times() == (17.0, 102.0)


@pytest.mark.parametrize(("seconds", "watts"), [(4.9, None), (5.0, 306.25)])
def test_a_summary_covers_all_samples_of_a_working_gpu(
    install_nvml: InstallNvml, monkeypatch: pytest.MonkeyPatch, seconds: float, watts: float | None
) -> None:
    """Clocks, power, temperature, reasons and other processes; the first sample is before the work.

    A reading of the power is a mean of the last second, so that of a short run is left out.
    """
    gpu = fake_gpu(pids=[1, 2])
    now = 100.0
    monkeypatch.setattr(state.time, "perf_counter", lambda: now)
    install_nvml(gpu)
    usual = gpu.clocks[pynvml.NVML_CLOCK_SM], gpu.milliwatts
    gpu.clocks[pynvml.NVML_CLOCK_SM], gpu.milliwatts = 345, 70_000
    with StateSampler(open_gpu(0), [os.getpid()], interval_seconds=60) as sampler:
        gpu.clocks[pynvml.NVML_CLOCK_SM], gpu.milliwatts = usual
        gpu.pids = [1]
        sampler._sample()
        gpu.clocks[pynvml.NVML_CLOCK_SM], gpu.celsius, gpu.milliwatts = 900, 91, 200_000
        gpu.reasons, gpu.pids = 0x44, []
        now += seconds
    assert sampler.summary() == sampler.summary().model_copy(
        update={
            "samples": 3,
            "sm_clock_min_mhz": 900,
            "sm_clock_median_mhz": 1200,
            "sm_clock_max_mhz": 1500,
            "sm_clock_limit_mhz": 1980,
            "power_mean_watts": watts,
            "temperature_max_celsius": 91,
            "throttle_shares": {"hw_thermal_slowdown": 0.5, "sw_power_cap": 0.5},
            "pcie_generation": 5,
            "pcie_width": 16,
            "xid_errors": (),
            "other_processes_max": 1,
        }
    )


def test_a_summary_without_samples_is_empty() -> None:
    """No sample, or samples of a GPU that reports nothing."""
    assert state.summarize_devices([]) == DuringState()
    assert state.summarize_devices([DeviceState()]) == DuringState(samples=1)


def test_sampling_continues_after_a_failed_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread survives an error such as that of a process that just ended."""
    calls = iter(range(1, 1_000_000))
    read = state.own_processes

    def fail_once(pids: Collection[int] | None = None) -> set[psutil.Process]:
        if next(calls) == 2:
            raise psutil.NoSuchProcess(1)
        return read(pids)

    monkeypatch.setattr(state, "own_processes", fail_once)
    with StateSampler(None, [], interval_seconds=0.01) as sampler:
        end_seconds = time.monotonic() + 10
        while sampler.summary().samples < 3 and time.monotonic() < end_seconds:
            time.sleep(0.01)
        assert sampler.summary().samples >= 3


def test_an_error_inside_the_block_is_not_swallowed() -> None:
    """The sampler ends, and the error goes on."""
    with pytest.raises(KeyError), StateSampler(None):
        raise KeyError


def test_the_host_state_is_what_psutil_sees() -> None:
    """Free memory is part of the memory; percentages are percentages."""
    seen = read_state(None).host
    assert 0 < seen.memory_available_bytes <= psutil.virtual_memory().total
    assert 0 <= seen.cpu_busy_percent <= 100
