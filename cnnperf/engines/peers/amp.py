"""The `amp` peer: what people write when they want speed without effort.

Torch half. `eager` with autocast to bfloat16 and channels last; no GradScaler, which bfloat16 does
not need, and torch's default for everything else.
"""

from __future__ import annotations

import torch
from torch import nn

from cnnperf.engines.base import Batch
from cnnperf.engines.eager import EagerEngine
from cnnperf.engines.peers.batches import channels_last


class AmpEngine(EagerEngine):
    """bfloat16 where autocast has it, channels last."""

    def place(self, model: nn.Module) -> nn.Module:
        """On the device, channels last, to be called under autocast."""
        self.autocast_dtype = torch.bfloat16
        self.settings |= {"autocast_dtype": "bfloat16", "channels_last": True}
        return super().place(model).to(memory_format=torch.channels_last)

    def noise(self, size: int) -> Batch:
        """A batch like the recipe's, of noise, in the memory order of real ones."""
        return channels_last(super().noise(size))

    def to_device(self, batch: Batch) -> Batch:
        """Copy a batch there, and put it into the order of the model's weights."""
        return channels_last(super().to_device(batch))
