"""The machine's condition before, during and after a repeat.

A time is worth little if the clocks were held down or somebody else used the machine meanwhile.
`read_state` looks once; `StateSampler` looks twice a second from a thread of its own. Let the
sampler run in the pytest process while that waits, not in the worker: the worker is timed.

    python -c "from cnnperf.machine.state import *; print(read_state(None))"
"""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterable
from types import TracebackType

import psutil

from cnnperf.machine.attempt import attempt
from cnnperf.machine.host import CpuTimes, read_cpu_times, read_host_state
from cnnperf.machine.nvml import GpuHandle, read_device_state
from cnnperf.record.environment import DeviceState, DuringState, State

LEAST_CORE_SECONDS = 0.5
"""Linux counts CPU time in ticks of 10 ms: below 50 of them a percentage means nothing."""


def read_state(
    gpu: GpuHandle | None,
    own_pids: Collection[int] | None = None,
    *,
    window_seconds: float = 0.2,
) -> State:
    """The machine now; takes `window_seconds`, in which it watches the cores.

    Args:
        gpu: the device of the run, None for a run on the CPU.
        own_pids: processes that are ours, with all their descendants; by default this one.
        window_seconds: how long CPU use is observed.
    """
    device = None
    if gpu is not None:
        device = read_device_state(gpu, {process.pid for process in own_processes(own_pids)})
    return State(device=device, host=read_host_state(window_seconds))


def own_processes(own_pids: Collection[int] | None = None) -> set[psutil.Process]:
    """The processes of these PIDs (by default this one) that are alive, and their descendants."""
    found: set[psutil.Process] = set()
    for pid in [os.getpid()] if own_pids is None else own_pids:
        root = attempt(psutil.Process, pid)
        if root is not None:
            found |= {root, *(attempt(root.children, recursive=True) or [])}
    return found


def cpu_seconds(processes: Iterable[psutil.Process]) -> float:
    """CPU time of processes since their start, with that of children they have waited for."""
    return sum(
        sum(times[:4])  # user, system, children_user, children_system
        for process in processes
        if (times := attempt(process.cpu_times)) is not None
    )


class OthersCpu:
    """CPU time of everybody else: the machine's, less that of the own process tree.

    Summed over intervals, so that one in which own processes ended unseen (their time leaves the
    tree with them) can be left out.
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
        """Share of all cores together, 0..100; None while too little was seen."""
        if self._total_seconds < LEAST_CORE_SECONDS:
            return None
        return min(100.0, max(0.0, 100 * self._others_seconds / self._total_seconds))


class StateSampler:
    """Watches the machine while a repeat runs.

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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._sample()
        self._duration_seconds = time.perf_counter() - self._start_seconds

    def _watch(self) -> None:
        """Sample until told to stop; nothing here may end the run."""
        while not self._stop.wait(self._interval_seconds):
            attempt(self._sample)

    def _sample(self) -> None:
        """Look once."""
        own = own_processes(self._own_pids)
        self._others.update(own)
        if self._gpu is not None:
            self._devices.append(read_device_state(self._gpu, {process.pid for process in own}))
        self._samples += 1

    def summary(self) -> DuringState:
        """What was seen from entry to exit; None for what no sample could tell."""
        device = summarize_devices(self._devices)
        return device.model_copy(
            update={
                "samples": self._samples,
                "duration_seconds": self._duration_seconds,
                "others_cpu_busy_percent": self._others.percent,
            }
        )


def summarize_devices(states: Collection[DeviceState]) -> DuringState:
    """Samples of a GPU in one line; its host fields are left None."""
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
    """The values that are there."""
    return [value for value in values if value is not None]


def _throttle_shares(states: Collection[DeviceState]) -> dict[str, float] | None:
    """Each reason's share of the samples that could tell; None where none could."""
    told = [state.throttle_reasons for state in states if state.throttle_reasons is not None]
    counts = Counter(reason for reasons in told for reason in reasons)
    return {reason: count / len(told) for reason, count in sorted(counts.items())} if told else None
