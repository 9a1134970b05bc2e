"""Conducting one repeat: the worker, and what the machine did meanwhile.

Torch-free. The parent is idle while the worker trains, so it is the one that watches clocks,
power and other processes; its own stopwatch, from `go` to `trained`, must agree with the
worker's.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any

from cnnperf.machine.flags import run_flags
from cnnperf.machine.nvml import GpuHandle, read_energy_millijoules
from cnnperf.machine.state import StateSampler, read_state
from cnnperf.machine.visible_gpus import visible_gpu_handle
from cnnperf.record.environment import Flag, Hardware
from cnnperf.record.messages import TrainJob
from cnnperf.record.schema import Repeat, StateRecord
from cnnperf.run.harness import Moments, harness_times, own_seconds
from cnnperf.run.time_limit import TimeLimit
from cnnperf.run.worker_process import Listener, Worker, ignore_progress

MIN_ENERGY_SECONDS = 5.0
"""NVML's energy counter moves every 20 to 100 ms, so a shorter run's joules would be noise."""


CLOCK_SLACK_SECONDS = 0.25
CLOCK_SLACK_SHARE = 0.02
"""Between `go` and `trained` as seen from outside and inside: two messages through a pipe."""


class RepeatRun:
    """One repeat, in three steps that pytest-benchmark can time: prepare, train, finish.

    Use as a context manager: leaving it ends the worker, whatever happened.
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
        self._worker = Worker(
            job, python=python, timeout_seconds=timeout_seconds, limit=limit, listener=listener
        )
        self._stack = ExitStack()
        self.outside_seconds: float | None = None
        """From `go` to `trained`."""
        self.energy_joules: float | None = None

    def __enter__(self) -> RepeatRun:
        self._stack.enter_context(self._worker)
        return self

    def __exit__(self, *exception: Any) -> None:
        self._stack.close()

    def prepare(self) -> None:
        """Until the worker is ready for `go`; an `infer` case is trained by then."""
        ready = self._worker.wait_ready()
        self._ready, self._ready_heard = ready, self._worker.heard_at
        self._gpu = visible_gpu_handle() if ready.device == "cuda" else None
        self._before = read_state(self._gpu)  # this process and its descendants are ours
        self._sampler = StateSampler(self._gpu)

    def train(self) -> None:
        """From `go` to `trained`, timed from outside: a training, or measuring inference."""
        with self._sampler:
            energy_before = _energy_millijoules(self._gpu)
            self._go = time.monotonic()
            self._worker.go()
            self._trained = self._worker.wait_trained()
            self._trained_heard = self._worker.heard_at
            self.outside_seconds = self._trained_heard - self._go
            energy_after = _energy_millijoules(self._gpu)
        if (
            energy_before is not None
            and energy_after is not None
            and self.outside_seconds >= MIN_ENERGY_SECONDS
        ):
            self.energy_joules = (energy_after - energy_before) / 1e3

    def finish(self) -> Repeat:
        """The worker's result, with what was seen from outside."""
        after = read_state(self._gpu)
        repeat = self._worker.wait_result().repeat
        during = self._sampler.summary()
        return repeat.model_copy(
            update={
                **self._seen_from_outside(repeat),
                "state": StateRecord(before=self._before, during=during, after=after),
                "warnings": [
                    *run_flags(
                        before=self._before,
                        during=during,
                        hardware=self._hardware,
                        settings=repeat.settings,
                    ),
                    *mfu_flags(repeat.metrics.mfu),
                    *clock_flags(self._trained.seconds, self.outside_seconds),
                    *repeat.warnings,
                ],
            }
        )

    def _seen_from_outside(self, repeat: Repeat) -> dict[str, Any]:
        """Fields of a repeat as this process completes them.

        What it timed of an `infer` case is the measuring, whose time and energy are a budget's; the
        training went before, unobserved.
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
        """What happened when; the worker's own moments are reckoned from those that it names."""
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


def mfu_flags(mfu: float | None) -> list[Flag]:
    """A warning where training seems faster than the matmul peak of the same run."""
    if mfu is None or mfu <= 1:
        return []
    message = (
        f"MFU came out as {mfu:.0%}, which cannot be: the matmul peak was measured while the "
        "device was slowed down. Likely another job at the start of the run: repeat it when the "
        "machine is idle, or go by images/s."
    )
    return [Flag(kind="mfu_above_peak", value=mfu, message=message)]


def clock_flags(inside_seconds: float, outside_seconds: float | None) -> list[Flag]:
    """A warning where the worker's stopwatch and this process's do not agree."""
    if outside_seconds is None:
        return []
    apart = outside_seconds - inside_seconds
    if -CLOCK_SLACK_SECONDS <= apart <= CLOCK_SLACK_SECONDS + CLOCK_SLACK_SHARE * inside_seconds:
        return []
    message = (
        f"The worker timed {inside_seconds:.3f} s, this process {outside_seconds:.3f} s. Likely "
        "the machine was suspended or so busy that one of them was not scheduled: repeat it."
    )
    return [Flag(kind="clocks_disagree", value=apart, message=message)]


def _energy_millijoules(gpu: GpuHandle | None) -> int | None:
    """None also for a MIG slice: the counter is the whole board's."""
    return None if gpu is None or gpu.is_mig else read_energy_millijoules(gpu)
