"""The `amp` peer: what people write when they want speed without effort.

Torch half. `eager` with autocast to bfloat16 and channels last; no GradScaler, which bfloat16 does
not need, and torch's default for everything else.
"""

from __future__ import annotations

from cnnperf.training.engines.peers.batches import Bf16ChannelsLast


class AmpEngine(Bf16ChannelsLast):
    """bfloat16 where autocast has it, channels last."""
