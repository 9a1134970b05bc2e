"""Watching the loss of every step without making the device wait for the host.

Torch half. The losses of an epoch stay in one tensor on the device. They are looked at now and
then, for the progress display and to stop at the first loss that is not a number; on a CPU,
where looking is free, at every step.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch

LOOK_SECONDS = 0.5
"""An accelerator is asked for its losses this often."""


class NaNLossError(ArithmeticError):
    """The loss stopped being a finite number."""

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
    """The losses of one epoch's steps (S); once it is finished, `losses_S` has them on the host.

    Args:
        steps: how many steps the epoch has.
        epoch: its number, from 1.
        device: where the losses are.
        on_look: called as `on_look(step, mean loss since the last look)`, both plain numbers.
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
        """Take the mean losses of the next K steps: a tensor of shape (K) without history."""
        self._losses[self._step : self._step + len(losses_K)] = losses_K
        self._step += len(losses_K)
        overdue = time.monotonic() >= self._next_look
        if overdue or self._every_step:
            self._look(show=overdue)

    def _look(self, *, show: bool) -> None:
        """Check the losses since the last look; this waits for the device."""
        fresh = self._losses[self._looked_at : self._step].tolist()
        for offset, loss in enumerate(fresh):
            check_finite(loss, f"epoch {self._epoch}, step {self._looked_at + offset + 1}")
        if show and fresh:
            self._next_look = time.monotonic() + LOOK_SECONDS
            self._on_look(self._step, sum(fresh) / len(fresh))
        self._looked_at = self._step

    def finish(self, images_per_step: list[int]) -> float:
        """Check what is left and return the mean loss over the epoch's images."""
        self._look(show=False)
        weights = torch.tensor(images_per_step, dtype=torch.float64)
        self.losses_S = self._losses[: self._step].cpu()
        losses = self.losses_S.double()  # no float64 on Apple GPUs
        return float((losses * weights).sum() / weights.sum())
