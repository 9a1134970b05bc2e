"""The time that a repeat takes besides training, from moments in parent and worker.

All moments are on one clock: `time.monotonic` and `time.perf_counter` are both CLOCK_MONOTONIC on
Linux, which is the same for every process (clock_gettime(2)).

    pytest benchmarks/test_harness.py --cnnperf-tier=full
"""

from __future__ import annotations

from dataclasses import dataclass

from cnnperf.record.schema import HarnessTimes


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Readings of the monotonic clock in seconds, in order of time."""

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
