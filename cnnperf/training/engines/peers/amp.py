"""The `amp` peer: `eager` with autocast to bfloat16 and channels last.

This is the usual way to more speed with little effort. bfloat16 needs no GradScaler; everything
else is at torch's default. The bfloat16 variants of other peers inherit from this one.
"""

from __future__ import annotations

import torch
from torch import nn

from cnnperf.training.engines.base import Batch, channels_last
from cnnperf.training.engines.eager import EagerEngine


class AmpEngine(EagerEngine):
    """Autocast to bfloat16, channels last; as a base class, list it before the other engine."""

    def place(self, model: nn.Module) -> nn.Module:
        """Move to the device, channels last, and enable autocast."""
        self.autocast_dtype = torch.bfloat16
        self.settings |= {"autocast_dtype": "bfloat16", "channels_last": True}
        return super().place(model).to(memory_format=torch.channels_last)

    def noise(self, size: int) -> Batch:
        """Return a batch of noise, channels last."""
        return channels_last(super().noise(size))

    def to_device(self, batch: Batch) -> Batch:
        """Copy a batch to the device, channels last."""
        return channels_last(super().to_device(batch))
