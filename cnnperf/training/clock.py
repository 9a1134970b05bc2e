"""Timing on a device that runs behind the host: synchronise rarely, place events instead.

Torch half. `synchronize` stands at the two ends of the clock; between them `StepTimer` places
an event a step, which costs microseconds, and reads them all once the epoch is over.
"""

from __future__ import annotations

import time
from typing import Any

import torch


def synchronize(device: torch.device) -> None:
    """Wait until the device has done everything asked of it so far."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


class StepTimer:
    """Time of each step of an epoch, without waiting for the device at any of them.

    On CUDA and XPU the times are the device's own, between events in its stream. On a CPU they
    are the host's. Elsewhere the host's too, which shows when a step was queued, not when it ran.
    """

    def __init__(self, device: torch.device) -> None:
        events = getattr(torch, device.type, None) if device.type in ("cuda", "xpu") else None
        self._event_type = events.Event if events is not None else None
        self._marks: list[Any] = []
        self._steps: list[int] = []

    def mark(self, *, steps: int = 1) -> None:
        """The boundary between two steps; the first call starts the first step.

        Args:
            steps: how many there were since the last mark; each is given its share of the time.
        """
        self._steps.append(steps)
        if self._event_type is None:
            self._marks.append(time.perf_counter())
            return
        event = self._event_type(enable_timing=True)
        event.record()
        self._marks.append(event)

    def step_seconds(self) -> list[float]:
        """Seconds of each step; call after the device is synchronised."""
        spans = zip(self._marks, self._marks[1:], self._steps[1:], strict=False)
        return [
            self._seconds(start, end) / steps for start, end, steps in spans for _ in range(steps)
        ]

    def _seconds(self, start: Any, end: Any) -> float:
        between: float = end - start if self._event_type is None else start.elapsed_time(end) / 1e3
        return between
