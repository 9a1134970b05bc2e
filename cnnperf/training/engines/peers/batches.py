"""What the peers that multiply in bfloat16 have in common: autocast, and channels last.

Torch half. Shapes: `B` images, `C` channels, `H W` pixels.
"""

from __future__ import annotations

import torch
from torch import nn

from cnnperf.training.engines.base import Batch
from cnnperf.training.engines.eager import EagerEngine


def channels_last(batch: Batch) -> Batch:
    """The same batch with its channels last in memory."""
    images_BCHW, labels_B = batch
    return images_BCHW.contiguous(memory_format=torch.channels_last), labels_B


class Bf16ChannelsLast(EagerEngine):
    """bfloat16 where autocast has it, channels last; to stand before another engine's class."""

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
