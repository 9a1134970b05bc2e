"""One repeat: the worker trains, and the parent watches the machine.

The parent is idle during training, so it reads clocks, power and other processes. Its own
stopwatch, from `go` to `trained`, must agree with the worker's.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cnnperf.machine.flags import FALLBACKS, missing_bfloat16_units, run_flags
from cnnperf.machine.nodes import find_nodes
from cnnperf.machine.nvml import (
    MIN_ENERGY_SECONDS,
    GpuHandle,
    read_energy_millijoules,
    visible_gpu_handle,
)
from cnnperf.machine.state import StateSampler, read_state
from cnnperf.record.environment import Flag, Hardware, Settings
from cnnperf.record.harness import HarnessTimes
from cnnperf.record.messages import TrainJob
from cnnperf.record.schema import Repeat, StateRecord
from cnnperf.run.time_limit import TimeLimit
from cnnperf.run.worker_process import Listener, Worker, WorkerError, ignore_progress

CLOCK_SLACK_SECONDS = 0.25
CLOCK_SLACK_SHARE = 0.02
"""Accepted difference between the stopwatches of parent and worker: two messages in a pipe."""


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Readings in seconds, in order of time, of one clock for all processes.

    `time.monotonic` and `time.perf_counter` are both CLOCK_MONOTONIC on Linux (clock_gettime(2)).
    """

    spawned: float
    """The parent starts the process."""
    began: float
    """The worker runs its first line."""
    imported: float
    """Torch and the engine are imported."""
    ready: float
    """The worker sends `ready`."""
    ready_heard: float
    go: float
    """The parent has read the machine's state and sends `go`."""
    clock_started: float
    """The worker starts to train."""
    clock_stopped: float
    trained_heard: float
    result_heard: float
    ended: float
    """The process has ended."""


def harness_times(moments: Moments) -> HarnessTimes:
    """Return the time between the moments, without the training itself."""
    inside_seconds = moments.clock_stopped - moments.clock_started
    outside_seconds = moments.trained_heard - moments.go
    return HarnessTimes(
        start_seconds=moments.began - moments.spawned,
        import_seconds=moments.imported - moments.began,
        prepare_seconds=moments.ready - moments.imported,
        ready_latency_seconds=moments.ready_heard - moments.ready,
        arm_seconds=moments.go - moments.ready_heard,
        go_latency_seconds=moments.clock_started - moments.go,
        trained_latency_seconds=moments.trained_heard - moments.clock_stopped,
        result_seconds=moments.result_heard - moments.trained_heard,
        exit_seconds=moments.ended - moments.result_heard,
        clocks_apart_seconds=outside_seconds - inside_seconds,
    )


def own_seconds(times: HarnessTimes) -> float:
    """Return the suite's own time: starting, importing, messages, ending.

    Preparing is mostly the engine's time, and the time after the clock mostly the test set's.
    """
    others = {"prepare_seconds", "result_seconds", "clocks_apart_seconds"}
    spans: dict[str, float] = times.model_dump(exclude=others)
    return max(0.0, sum(spans.values()))


class RepeatRun:
    """One repeat in three steps that pytest-benchmark can time: prepare, train, finish.

    Use it as a context manager; leaving it ends the worker.
    """

    def __init__(
        self,
        job: TrainJob,
        *,
        python: str | None = None,
        timeout_seconds: float | None = None,
        limit: TimeLimit | None = None,
        listener: Listener = ignore_progress,
        hardware: Hardware | None = None,
    ) -> None:
        self._hardware = hardware
        devices = getattr(job.case, "devices", None) or 1
        self._devices = max(1, devices // find_nodes().of(devices).count)
        self._worker = Worker(
            job, python=python, timeout_seconds=timeout_seconds, limit=limit, listener=listener
        )
        self.outside_seconds: float | None = None
        """Time from `go` to `trained`."""
        self.energy_joules: float | None = None

    def __enter__(self) -> RepeatRun:
        self._worker.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._worker.__exit__(*exception)

    def prepare(self) -> None:
        """Wait until the worker is ready; an `infer` case is trained by then."""
        self._ready = self._worker.wait_ready()
        self._ready_heard = self._worker.heard_at
        here = self._devices if self._ready.device == "cuda" else 0
        self._gpus = [gpu for gpu in map(visible_gpu_handle, range(here)) if gpu is not None]
        self._gpu = self._gpus[0] if self._gpus else None
        self._before = read_state(self._gpu)  # this process and its descendants do not count
        self._sampler = StateSampler(self._gpu, worker_pid=self._worker.pid)

    def train(self) -> None:
        """Train, or measure inference; timed from outside, from `go` to `trained`."""
        with self._sampler:
            energy_before = _energy_millijoules(self._gpus)
            self._go = time.monotonic()
            self._worker.go()
            self._trained = self._worker.wait_trained()
            self._trained_heard = self._worker.heard_at
            self.outside_seconds = self._trained_heard - self._go
            energy_after = _energy_millijoules(self._gpus)
        long_enough = self.outside_seconds >= MIN_ENERGY_SECONDS
        if long_enough and energy_before is not None and energy_after is not None:
            self.energy_joules = (energy_after - energy_before) / 1e3

    def finish(self) -> Repeat:
        """Return the worker's result, completed by what the parent observed."""
        after = read_state(self._gpu)
        repeat = self._worker.wait_result().repeat
        mfu, doubts = checked_mfu(repeat, self._hardware or Hardware())
        metrics = repeat.metrics.model_copy(update={"mfu": mfu})
        repeat = repeat.model_copy(update={"metrics": metrics})
        during = self._sampler.summary()
        flags = run_flags(
            before=self._before,
            during=during,
            hardware=self._hardware,
            settings=repeat.settings,
        )
        flags += doubts
        flags += clock_flags(self._trained.seconds, self.outside_seconds)
        return repeat.model_copy(
            update={
                **self._observations(repeat),
                "state": StateRecord(before=self._before, during=during, after=after),
                "warnings": [*flags, *repeat.warnings],
            }
        )

    def _observations(self, repeat: Repeat) -> dict[str, Any]:
        """Return the fields of the repeat that the parent measures.

        For an `infer` case the parent times the measuring, whose length is a budget; training took
        place before.
        """
        if repeat.inference is not None:
            times = {"outside_seconds": self.outside_seconds}
            return {"inference": repeat.inference.model_copy(update=times)}
        harness = harness_times(self._moments())
        metrics = repeat.metrics.model_copy(
            update={
                "outside_train_seconds": self.outside_seconds,
                "energy_joules": self.energy_joules,
                "harness_seconds": own_seconds(harness),
            }
        )
        return {"metrics": metrics, "harness": harness}

    def _moments(self) -> Moments:
        ready, trained = self._ready, self._trained
        began = ready.at - ready.startup_seconds
        return Moments(
            spawned=self._worker.spawned_at,
            began=began,
            imported=began + ready.import_seconds,
            ready=ready.at,
            ready_heard=self._ready_heard,
            go=self._go,
            clock_started=trained.at - trained.seconds,
            clock_stopped=trained.at,
            trained_heard=self._trained_heard,
            result_heard=self._worker.heard_at,
            ended=self._worker.ended_at,
        )


def checked_mfu(repeat: Repeat, hardware: Hardware) -> tuple[float | None, list[Flag]]:
    """Return the MFU, or None where it means nothing, and warn of an MFU that cannot be right."""
    mfu, settings = repeat.metrics.mfu, repeat.settings or Settings()
    if mfu is None:
        return None, []
    missing = missing_bfloat16_units(hardware, settings)
    if repeat.precision == "bfloat16" and missing is not None:
        message = (
            f"MFU is left out: {missing}. Without units for bfloat16 a library emulates it, "
            "convolutions faster than the matrix product that MFU is relative to (the ratio was "
            f"{mfu:.0%}). Compare images/s, or train in float32."
        )
        return None, [Flag(kind="no_bfloat16_units", value=mfu, message=message)]
    if mfu <= 1:
        return mfu, []
    message = (
        f"MFU is {mfu:.0%}, above the possible 100%: the device was slower while the matmul peak "
        "was measured. Likely another job ran at the start: repeat the run on an idle machine, or "
        "compare images/s."
    )
    return mfu, [Flag(kind="mfu_above_peak", value=mfu, message=message)]


def fallbacks_of(repeat: Repeat) -> list[Flag]:
    """Return the flags by which engine `fast` fell back on CUDA; a CPU has nothing to lose."""
    device = (repeat.settings or Settings()).device or ""
    on_cuda = device.startswith("cuda")
    return [flag for flag in repeat.warnings if on_cuda and flag.kind in FALLBACKS]


def check_fallback(repeat: Repeat) -> None:
    """Refuse a training on CUDA in which engine `fast` went on without what makes it fast.

    Its figures look like any others, and hours of them would measure what nobody asked for.

    Raises:
        WorkerError: it fell back; the message says what failed and what to try.
    """
    found = fallbacks_of(repeat)
    if not found:
        return
    kinds = ", ".join(dict.fromkeys(flag.kind for flag in found))
    error = WorkerError("fallback", f"engine fast fell back ({kinds}): {found[-1].message}")
    error.seed = repeat.seed
    raise error


def clock_flags(inside_seconds: float, outside_seconds: float | None) -> list[Flag]:
    """Warn if the stopwatches of worker and parent disagree."""
    if outside_seconds is None:
        return []
    apart = outside_seconds - inside_seconds
    if -CLOCK_SLACK_SECONDS <= apart <= CLOCK_SLACK_SECONDS + CLOCK_SLACK_SHARE * inside_seconds:
        return []
    message = (
        f"The worker measured {inside_seconds:.3f} s, its parent {outside_seconds:.3f} s. Likely "
        "the machine was suspended, or too busy to run one of them: repeat the run."
    )
    return [Flag(kind="clocks_disagree", value=apart, message=message)]


def _energy_millijoules(gpus: Sequence[GpuHandle]) -> int | None:
    """Read the energy counters; None with a MIG slice, because the counter is the whole board's."""
    counters = [None if gpu.is_mig else read_energy_millijoules(gpu) for gpu in gpus]
    known = [each for each in counters if each is not None]
    return sum(known) if known and len(known) == len(gpus) else None
