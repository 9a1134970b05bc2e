"""Read the machine's state before, during and after a repeat.

Reduced clocks or other processes make a time meaningless. `read_state` reads once; `StateSampler`
reads twice a second in a thread. It runs in the waiting pytest process: the worker is timed.

    python -c "from cnnperf.machine.state import *; print(read_state(None))"
"""

from __future__ import annotations

import operator
import os
import statistics
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterable
from typing import Any

import psutil

from cnnperf.machine.cgroups import (
    Throttling,
    cpu_groups,
    read_throttling,
    throttling_between,
)
from cnnperf.machine.health import XidEvents, read_health
from cnnperf.machine.host import attempt, read_host_state
from cnnperf.machine.nvml import MIN_ENERGY_SECONDS, GpuHandle, read_device_state
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
    device = health = None
    if gpu is not None:
        device = read_device_state(gpu, {process.pid for process in own_processes(own_pids)})
        health = read_health(gpu)
    return State(device=device, health=health, host=read_host_state(window_seconds))


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


def read_cpu_times() -> tuple[float, float]:
    """Return the seconds of all cores together since boot: busy ones, and all.

    Waiting for a disk is idle; time stolen by the hypervisor is busy. Linux counts guests twice, so
    they are subtracted.
    """
    times = psutil.cpu_times()._asdict()
    total = sum(times.values()) - times.get("guest", 0.0) - times.get("guest_nice", 0.0)
    return total - times["idle"] - times.get("iowait", 0.0), total


class OthersCpu:
    """Measure the CPU time of others: the machine's minus that of the own process tree.

    An interval in which own processes ended unseen is left out: the tree loses their time.
    """

    def __init__(self) -> None:
        self._last: tuple[float, float, float] | None = None
        self._others_seconds = 0.0
        self._total_seconds = 0.0

    def update(self, own: Iterable[psutil.Process]) -> None:
        """Add the interval since the last update."""
        machine = attempt(read_cpu_times)
        if machine is None:
            return
        now = (*machine, cpu_seconds(own))
        if self._last is not None:
            busy, total, own_seconds = map(operator.sub, now, self._last)
            if own_seconds >= 0:
                self._others_seconds += busy - own_seconds
                self._total_seconds += total
        self._last = now

    @property
    def percent(self) -> float | None:
        """Share of all cores together, 0..100; None until enough time was seen."""
        if self._total_seconds < LEAST_CORE_SECONDS:
            return None
        return min(100.0, max(0.0, 100 * self._others_seconds / self._total_seconds))


class StateSampler:
    """Sample the machine's state while a repeat runs.

    `worker_pid` is the process whose CPU quota counts; by default this one.

    with StateSampler(gpu, [os.getpid()]) as sampler:
        wait_for_the_worker()
    during = sampler.summary()
    """

    def __init__(
        self,
        gpu: GpuHandle | None,
        own_pids: Collection[int] | None = None,
        *,
        worker_pid: int | None = None,
        interval_seconds: float = 0.5,
    ) -> None:
        self._gpu = gpu
        self._own_pids = own_pids
        self._worker_pid = worker_pid
        self._interval_seconds = interval_seconds
        self._samples = 0
        self._devices: list[DeviceState] = []
        self._others = OthersCpu()
        self._start_seconds = 0.0
        self._duration_seconds: float | None = None
        self._throttled: Throttling | None = None
        self._xids: XidEvents | None = None
        self._xid_errors: tuple[int, ...] | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="cnnperf-state", daemon=True)

    def __enter__(self) -> StateSampler:
        self._start_seconds = time.perf_counter()
        self._xids = XidEvents(self._gpu) if self._gpu is not None else None
        self._sample()
        self._groups = attempt(cpu_groups, self._worker_pid or "self") or []
        self._throttling = attempt(read_throttling, self._groups) or {}
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        throttling = attempt(read_throttling, self._groups) or {}
        self._throttled = throttling_between(self._throttling, throttling)
        self._sample()
        self._xid_errors = self._xids.close() if self._xids is not None else None
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
        """Return what was seen from entry to exit; None for what no sample had.

        The first sample shows the GPU before its work, when its clock may be lowered. The power is
        left out of a short run.
        """
        throttled = self._throttled._asdict() if self._throttled else {}
        seen = summarize_devices(self._devices[1:] or self._devices)
        is_long = (self._duration_seconds or 0.0) >= MIN_ENERGY_SECONDS
        return seen.model_copy(
            update={
                "power_mean_watts": seen.power_mean_watts if is_long else None,
                **{f"cpu_{name}": value for name, value in throttled.items()},
                "samples": self._samples,
                "xid_errors": self._xid_errors,
                "duration_seconds": self._duration_seconds,
                "others_cpu_busy_percent": self._others.percent,
            }
        )


def summarize_devices(states: Collection[DeviceState]) -> DuringState:
    """Summarize the samples of a GPU; the host's fields stay None."""

    def known(name: str) -> list[Any]:
        values = (getattr(state, name) for state in states)
        return [value for value in values if value is not None]

    clocks, watts, reasons = known("sm_clock_mhz"), known("power_watts"), known("throttle_reasons")
    counts = Counter(reason for each in reasons for reason in each)
    shares = {reason: count / len(reasons) for reason, count in sorted(counts.items())}
    return DuringState(
        samples=len(states),
        sm_clock_min_mhz=min(clocks, default=None),
        sm_clock_median_mhz=statistics.median(clocks) if clocks else None,
        sm_clock_max_mhz=max(clocks, default=None),
        sm_clock_limit_mhz=max(known("sm_clock_limit_mhz"), default=None),
        power_mean_watts=statistics.fmean(watts) if watts else None,
        temperature_max_celsius=max(known("temperature_celsius"), default=None),
        throttle_shares=shares if reasons else None,
        pcie_generation=statistics.mode(known("pcie_generation") or [None]),
        pcie_width=statistics.mode(known("pcie_width") or [None]),
        other_processes_max=max(known("other_processes"), default=None),
    )
