"""Undoing what warm-up did to a model and its optimizer, in place.

Torch half. A compiled function and a CUDA graph hold the addresses of the weights, so they have to
be warmed up on the model that is going to be trained, not on a copy of it.
"""

from __future__ import annotations

import torch
from torch import nn


class Snapshot:
    """A model's tensors as they are now, to be copied back into the same memory.

    Args:
        model: with parameters and running statistics.
        optimizer: a fresh one, which has taken no step.

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
        """Memory that the copies take, on the device of the model."""
        return sum(value.nbytes for value in self._values)

    @torch.no_grad()
    def restore(self) -> None:
        """Copy every tensor back, and make the optimizer's state that of a first step: zeros."""
        for tensor, value in zip(self._tensors, self._values, strict=True):
            tensor.copy_(value)
        for state in self._optimizer.state.values():
            for value in state.values():
                if isinstance(value, torch.Tensor):
                    value.zero_()
        self._optimizer.zero_grad(set_to_none=True)
