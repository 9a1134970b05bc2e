"""Read the machine's state before, during and after a repeat.

Reduced clocks or other processes make a time meaningless. `read_state` reads once; `StateSampler`
reads twice a second in a thread. It runs in the waiting pytest process: the worker is timed.

    python -c "from cnnperf.machine.state import *; print(read_state(None))"
"""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterable

import psutil

from cnnperf.machine.attempt import attempt
from cnnperf.machine.host import CpuTimes, read_cpu_times, read_host_state
from cnnperf.machine.nvml import GpuHandle, read_device_state
from cnnperf.record.environment import DeviceState, DuringState, State

LEAST_CORE_SECONDS = 0.5
"""The least CPU time for a percentage: 50 of Linux's ticks of 10 ms."""


def read_state(
    gpu: GpuHandle | None,
    own_pids: Collection[int] | None = None,
    *,
    window_seconds: float = 0.2,
) -> State:
    """Return the state of the machine now; this takes `window_seconds`.

    Args:
        gpu: the device of the run; None for a run on the CPU.
        own_pids: the run's own processes, with all their descendants; by default this one.
        window_seconds: how long to observe CPU use.
    """
    device = None
    if gpu is not None:
        device = read_device_state(gpu, {process.pid for process in own_processes(own_pids)})
    return State(device=device, host=read_host_state(window_seconds))


def own_processes(own_pids: Collection[int] | None = None) -> set[psutil.Process]:
    """Return the live processes of these PIDs (by default this one) and their descendants."""
    found: set[psutil.Process] = set()
    for pid in [os.getpid()] if own_pids is None else own_pids:
        root = attempt(psutil.Process, pid)
        if root is not None:
            found |= {root, *(attempt(root.children, recursive=True) or [])}
    return found


def cpu_seconds(processes: Iterable[psutil.Process]) -> float:
    """Return the CPU time of processes, including that of children that they waited for."""
    return sum(
        sum(times[:4])  # user, system, children_user, children_system
        for process in processes
        if (times := attempt(process.cpu_times)) is not None
    )


class OthersCpu:
    """Measure the CPU time of others: the machine's minus that of the own process tree.

    An interval in which own processes ended unseen is left out: the tree loses their time.
    """

    def __init__(self) -> None:
        self._last: tuple[CpuTimes, float] | None = None
        self._others_seconds = 0.0
        self._total_seconds = 0.0

    def update(self, own: Iterable[psutil.Process]) -> None:
        """Add the interval since the last update."""
        machine = read_cpu_times()
        if machine is None:
            return
        now = (machine, cpu_seconds(own))
        if self._last is not None:
            self._add(self._last, now)
        self._last = now

    def _add(self, before: tuple[CpuTimes, float], after: tuple[CpuTimes, float]) -> None:
        own_seconds = after[1] - before[1]
        if own_seconds < 0:
            return
        self._others_seconds += after[0].busy_seconds - before[0].busy_seconds - own_seconds
        self._total_seconds += after[0].total_seconds - before[0].total_seconds

    @property
    def percent(self) -> float | None:
        """Share of all cores together, 0..100; None until enough time was seen."""
        if self._total_seconds < LEAST_CORE_SECONDS:
            return None
        return min(100.0, max(0.0, 100 * self._others_seconds / self._total_seconds))


class StateSampler:
    """Sample the machine's state while a repeat runs.

    with StateSampler(gpu, [os.getpid()]) as sampler:
        wait_for_the_worker()
    during = sampler.summary()
    """

    def __init__(
        self,
        gpu: GpuHandle | None,
        own_pids: Collection[int] | None = None,
        *,
        interval_seconds: float = 0.5,
    ) -> None:
        self._gpu = gpu
        self._own_pids = None if own_pids is None else tuple(own_pids)
        self._interval_seconds = interval_seconds
        self._samples = 0
        self._devices: list[DeviceState] = []
        self._others = OthersCpu()
        self._start_seconds = 0.0
        self._duration_seconds: float | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="cnnperf-state", daemon=True)

    def __enter__(self) -> StateSampler:
        self._start_seconds = time.perf_counter()
        self._sample()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._sample()
        self._duration_seconds = time.perf_counter() - self._start_seconds

    def _watch(self) -> None:
        """Sample until the block ends; an error here must not end the run."""
        while not self._stop.wait(self._interval_seconds):
            attempt(self._sample)

    def _sample(self) -> None:
        own = own_processes(self._own_pids)
        self._others.update(own)
        if self._gpu is not None:
            self._devices.append(read_device_state(self._gpu, {process.pid for process in own}))
        self._samples += 1

    def summary(self) -> DuringState:
        """Return what was seen from entry to exit; None for what no sample had."""
        device = summarize_devices(self._devices)
        return device.model_copy(
            update={
                "samples": self._samples,
                "duration_seconds": self._duration_seconds,
                "others_cpu_busy_percent": self._others.percent,
            }
        )


def summarize_devices(states: Collection[DeviceState]) -> DuringState:
    """Summarize the samples of a GPU; the host's fields stay None."""
    clocks = _known(state.sm_clock_mhz for state in states)
    limits = _known(state.sm_clock_limit_mhz for state in states)
    watts = _known(state.power_watts for state in states)
    temperatures = _known(state.temperature_celsius for state in states)
    others = [state.other_processes for state in states if state.other_processes is not None]
    return DuringState(
        samples=len(states),
        sm_clock_min_mhz=min(clocks, default=None),
        sm_clock_median_mhz=statistics.median(clocks) if clocks else None,
        sm_clock_max_mhz=max(clocks, default=None),
        sm_clock_limit_mhz=max(limits, default=None),
        power_mean_watts=statistics.fmean(watts) if watts else None,
        temperature_max_celsius=max(temperatures, default=None),
        throttle_shares=_throttle_shares(states),
        other_processes_max=max(others, default=None),
    )


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _throttle_shares(states: Collection[DeviceState]) -> dict[str, float] | None:
    """Return each reason's share of the samples that have reasons; None where none has."""
    known = [state.throttle_reasons for state in states if state.throttle_reasons is not None]
    if not known:
        return None
    counts = Counter(reason for reasons in known for reason in reasons)
    return {reason: count / len(known) for reason, count in sorted(counts.items())}
