"""Time a few steps in one way to execute them, before the clock starts."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from cnnperf.training.clock import synchronize

TRIAL_STEPS_CPU = 2
TRIAL_STEPS_CUDA = 20
"""Steps timed for each way to execute them, after a few untimed ones; the fastest way trains. A GPU
needs more: its steps are short and its clocks must rise."""

TRIAL_BATCH_CPU = 4
"""For large images: a batch of 128 at 224 pixels takes a CPU minutes."""


def time_step(step: Callable[[], object], steps: int, device: torch.device) -> float:
    """Time a step: on a CPU the fastest of some, since other work only slows; else their mean.

    An accelerator gets all of them at once: a wait after each would leave it idle.
    """
    rounds, each = (steps, 1) if device.type == "cpu" else (1, steps)
    found = []
    for _ in range(rounds):
        synchronize(device)
        start = time.perf_counter()
        for _ in range(each):
            step()
        synchronize(device)
        found.append((time.perf_counter() - start) / each)
    return min(found)
