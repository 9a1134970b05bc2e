"""Time work on a device that runs asynchronously from the host.

`synchronize` is called at both ends of the clock. Between them, `StepTimer` records one event per
step, which costs microseconds, and reads all events at the end of the epoch.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

MIN_TIMES_P90 = 10
MIN_TIMES_P99 = 100
"""With fewer times, the percentile is the maximum, which a single outlier decides."""


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished all queued work."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


class StepTimer:
    """Time each step of an epoch without waiting for the device.

    On CUDA and XPU, the times lie between events on the device. On a CPU they are the host's.
    On other devices they are the host's too, and show when a step was queued, not when it ran.
    """

    def __init__(self, device: torch.device) -> None:
        events = getattr(torch, device.type, None) if device.type in ("cuda", "xpu") else None
        self._event_type = events.Event if events is not None else None
        self._marks: list[Any] = []
        self._steps: list[int] = []

    def mark(self, *, steps: int = 1) -> None:
        """Mark the end of some steps, or with the first call the start of the first step.

        Args:
            steps: number of steps since the last mark; they share the time equally.
        """
        self._steps.append(steps)
        if self._event_type is None:
            self._marks.append(time.perf_counter())
            return
        event = self._event_type(enable_timing=True)
        event.record()
        self._marks.append(event)

    def step_seconds(self) -> list[float]:
        """Return the seconds of each step; synchronise the device first."""
        on_host = self._event_type is None
        return [
            (end - start if on_host else start.elapsed_time(end) / 1e3) / steps
            for start, end, steps in zip(
                self._marks, self._marks[1:], self._steps[1:], strict=False
            )
            for _ in range(steps)
        ]


def percentiles(
    seconds: Sequence[float], prefix: str, *, steps_at_once: int = 1
) -> dict[str, float | None]:
    """Return `{prefix}_p50`, `_p90` and `_p99` of at least one time; None where too few.

    Args:
        seconds: the times.
        prefix: start of the names.
        steps_at_once: how many times in a row are equal, because only their mean was measured.
    """
    p50, p90, p99 = np.percentile(seconds, [50, 90, 99]).tolist()
    measured = len(seconds) // steps_at_once
    return {
        f"{prefix}_p50": p50,
        f"{prefix}_p90": p90 if measured >= MIN_TIMES_P90 else None,
        f"{prefix}_p99": p99 if measured >= MIN_TIMES_P99 else None,
    }
