"""What a repeat takes beside its training: moments of parent and worker, laid on one axis.

Torch-free. Both processes read the monotonic clock, which on Linux is one for the whole machine:
Python's `time.monotonic` and `time.perf_counter` are both CLOCK_MONOTONIC (clock_gettime(2)),
whatever process asks. So a moment that the worker names needs no translation here.

    pytest benchmarks/test_harness.py --cnnperf-tier=full
"""

from __future__ import annotations

from dataclasses import dataclass

from cnnperf.record.schema import HarnessTimes


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Readings of the monotonic clock in seconds, in the order in which they come."""

    spawned: float
    """The parent is about to start the process."""
    began: float
    """The worker's first own line."""
    imported: float
    """Torch and everything else is there."""
    ready: float
    """The worker is prepared and says so."""
    ready_heard: float
    go: float
    """The parent has read the machine's state and is about to say `go`."""
    clock_started: float
    """The worker's: from here on it trains."""
    clock_stopped: float
    trained_heard: float
    result_heard: float
    ended: float
    """The process is gone."""


def harness_times(moments: Moments) -> HarnessTimes:
    """The spans between the moments, without the training itself."""
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
    """The suite's own part: starting, importing, handing over and ending.

    Preparing is mostly the engine's, and what follows the clock mostly the test set's.
    """
    others = {"prepare_seconds", "result_seconds", "clocks_apart_seconds"}
    spans: dict[str, float] = times.model_dump(exclude=others)
    return max(0.0, sum(spans.values()))
