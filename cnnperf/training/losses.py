"""Check the loss of every step without waiting for the device at each step.

The losses of an epoch stay in one tensor on the device. An accelerator's losses are read about
twice per second, for the progress display and to stop at the first loss that is not finite. On a
CPU reading is free, so every step is checked.

Shapes: S steps of an epoch, K steps at once.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch

LOOK_SECONDS = 0.5
"""Time between two reads of an accelerator's losses."""


class NaNLossError(ArithmeticError):
    """The loss is not a finite number."""

    def __init__(self, loss: float, where: str) -> None:
        super().__init__(
            f"loss became {loss} in {where}: training diverged or the device computes wrongly; "
            "try a lower learning rate or another precision"
        )


def check_finite(loss: float, where: str) -> None:
    """Raise `NaNLossError` unless a loss is a finite number."""
    if not math.isfinite(loss):
        raise NaNLossError(loss, where)


class LossMonitor:
    """Collect and check the losses of one epoch; after `finish`, `losses_S` is on the host.

    Args:
        steps: S, the number of steps of the epoch.
        epoch: number of the epoch, from 1.
        device: device of the losses.
        on_look: called as `on_look(step, mean loss since the last look)`, with plain numbers.
    """

    def __init__(
        self,
        *,
        steps: int,
        epoch: int,
        device: torch.device,
        on_look: Callable[[int, float], None],
    ) -> None:
        self._losses = torch.zeros(steps, device=device)
        self._epoch = epoch
        self._every_step = device.type == "cpu"
        self._on_look = on_look
        self._step = self._looked_at = 0
        self._next_look = time.monotonic() + (0.0 if self._every_step else LOOK_SECONDS)

    def add(self, losses_K: torch.Tensor) -> None:
        """Add the mean losses of the next K steps, a tensor (K) without history."""
        self._losses[self._step : self._step + len(losses_K)] = losses_K
        self._step += len(losses_K)
        overdue = time.monotonic() >= self._next_look
        if overdue or self._every_step:
            self._look(show=overdue)

    def _look(self, *, show: bool) -> None:
        """Wait for the device and check the losses since the last look."""
        fresh = self._losses[self._looked_at : self._step].tolist()
        for offset, loss in enumerate(fresh):
            check_finite(loss, f"epoch {self._epoch}, step {self._looked_at + offset + 1}")
        if show and fresh:
            self._next_look = time.monotonic() + LOOK_SECONDS
            self._on_look(self._step, sum(fresh) / len(fresh))
        self._looked_at = self._step

    def finish(self, images_per_step: list[int]) -> float:
        """Check the remaining losses and return the mean loss per image of the epoch."""
        self._look(show=False)
        weights = torch.tensor(images_per_step, dtype=torch.float64)
        self.losses_S = self._losses[: self._step].cpu()
        losses = self.losses_S.double()  # after the copy: Apple GPUs have no float64
        return float((losses * weights).sum() / weights.sum())
