"""`torch.compile` of forward pass and loss, timed, and honest about its cache.

Torch half. Compiling takes from seconds to minutes and is cached on disk: the first repeat of a
case pays, the next finds it done. The record says which it was.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import nn

ForwardLoss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From images (B, C, H, W) and labels (B) to the mean loss, a scalar."""


def compile_forward_loss(model: nn.Module, loss_function: ForwardLoss) -> ForwardLoss:
    """Compile both as one graph for one shape; the work is done at the first call."""

    def forward_loss(images_BCHW: torch.Tensor, labels_B: torch.Tensor) -> torch.Tensor:
        return loss_function(model(images_BCHW), labels_B)

    compiled: ForwardLoss = torch.compile(forward_loss, fullgraph=True, dynamic=False)
    return compiled


def cache_state() -> Literal["cold", "warm"]:
    """Whether everything that this process compiled so far came from the cache on disk."""
    from torch._dynamo.utils import counters  # torch has no public way to ask

    counts = counters["inductor"]
    hits, misses = counts["fxgraph_cache_hit"], counts["fxgraph_cache_miss"]
    return "warm" if hits and not misses else "cold"
