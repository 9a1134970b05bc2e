"""Compile forward pass and loss, and undo what warm-up did to the model.

Compiling takes seconds to minutes and is cached on disk: the first repeat of a case compiles, the
next one finds the result. The record tells them apart. A compiled function and a CUDA graph hold
the addresses of the weights, so warm-up must use the model that is trained, not a copy; `Snapshot`
restores it in place.

Shapes: B images, C channels, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import nn

ForwardLoss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From images (B, C, H, W) and labels (B) to the mean loss, a scalar."""


def compile_forward_loss(model: nn.Module, loss_function: ForwardLoss) -> ForwardLoss:
    """Compile model and loss as one graph for one shape, at the first call."""

    def forward_loss(images_BCHW: torch.Tensor, labels_B: torch.Tensor) -> torch.Tensor:
        return loss_function(model(images_BCHW), labels_B)

    compiled: ForwardLoss = torch.compile(forward_loss, fullgraph=True, dynamic=False)
    return compiled


def cache_state() -> Literal["cold", "warm"]:
    """Return `warm` if everything compiled in this process came from the cache on disk."""
    from torch._dynamo.utils import counters  # torch has no public name for them

    counts = counters["inductor"]
    hits, misses = counts["fxgraph_cache_hit"], counts["fxgraph_cache_miss"]
    return "warm" if hits and not misses else "cold"


class Snapshot:
    """A copy of a model's tensors, to restore them in the same memory.

    Args:
        model: a model with parameters and running statistics.
        optimizer: an optimizer that has not taken a step.

    Raises:
        ValueError: the optimizer has taken a step.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        if optimizer.state:
            raise ValueError("the optimizer has taken a step: only a fresh one can be restored")
        self._optimizer = optimizer
        self._tensors = [*model.parameters(), *model.buffers()]
        self._values = [tensor.detach().clone() for tensor in self._tensors]

    @property
    def bytes(self) -> int:
        """Memory of the copies, on the model's device."""
        return sum(value.nbytes for value in self._values)

    @torch.no_grad()
    def restore(self) -> None:
        """Copy every tensor back and set the optimizer's state to zeros, as before a first step."""
        for tensor, value in zip(self._tensors, self._values, strict=True):
            tensor.copy_(value)
        for state in self._optimizer.state.values():
            for value in state.values():
                if isinstance(value, torch.Tensor):
                    value.zero_()
        self._optimizer.zero_grad(set_to_none=True)
