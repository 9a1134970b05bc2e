"""bfloat16 copies of the weights, which Adam writes together with the weights.

Under autocast every step makes such copies anew, and turns the gradients, which convolutions and
matrix products write in bfloat16, into float32 for the optimizer. Here Adam reads those gradients
and writes the copies in the pass in which it updates the weights: 28 bytes move per parameter and
step instead of 40. Copies and gradients have the values that they would have had, so training is
the same up to the rounding of Adam's own arithmetic. The weights stay float32, in their place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from cnnperf.catalog.switches import is_on
from cnnperf.training.engines.fast.compilation import compile_once
from cnnperf.training.engines.fast.lean_convolutions import LeanConv2d, count_users, is_plain

Pairs = list[tuple[torch.Tensor, torch.Tensor]]
"""Weights and their copies."""


class CopiedLinear(nn.Linear):
    """A linear layer that uses the copy of its weight under autocast."""

    working: torch.Tensor | None = None

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Multiply, with the weight or its copy."""
        weight: torch.Tensor = self.weight
        if self.working is not None and torch.is_autocast_enabled(features.device.type):
            weight = self.working
        return functional.linear(features, weight, self.bias)


def layers_to_copy(on_meta: nn.Module, images_BCHW: torch.Tensor) -> list[str]:
    """Return the names of plain convolutions and linear layers whose weights have one use.

    The gradients of several uses would be added in bfloat16 instead of float32.

    Args:
        on_meta: the model in train mode on the meta device, which is run once.
        images_BCHW: its input, on the meta device.
    """
    users = count_users(on_meta(images_BCHW).grad_fn)
    leaves = {node.variable: uses for node, uses in users.items() if hasattr(node, "variable")}
    return [
        name
        for name, module in on_meta.named_modules()
        if (is_plain(module) or type(module) is nn.Linear) and leaves.get(module.weight) == 1
    ]


def attach_copies(model: nn.Module, names: Sequence[str], dtype: torch.dtype) -> None:
    """Give these layers copies of their weights, except one that sums slices of its weight."""
    for name in names:
        layer: Any = model.get_submodule(name)
        if getattr(layer, "one_of_three", False):
            continue
        layer.__class__ = CopiedLinear if isinstance(layer, nn.Linear) else LeanConv2d
        layer.working = layer.weight.detach().to(dtype).requires_grad_()


def detach_copies(model: nn.Module) -> None:
    """Let all layers use their weights again."""
    for module in model.modules():
        if isinstance(module, CopiedLinear | LeanConv2d):
            module.working = None


def copies_of(model: nn.Module) -> Pairs:
    """Return the weights of a model that have copies, with them."""
    return [
        (module.weight, module.working)
        for module in model.modules()
        if isinstance(module, CopiedLinear | LeanConv2d) and module.working is not None
    ]


@torch.no_grad()
def refresh_copies(model: nn.Module) -> None:
    """Copy the weights again, after something else than the optimizer has set them."""
    for weight, copy in copies_of(model):
        copy.copy_(weight)


class CopyingAdam(torch.optim.Adam):
    """Adam that also updates the copies of weights; made from an Adam by `writing_copies`."""

    pairs: Pairs
    correct: Callable[..., tuple[torch.Tensor, torch.Tensor]]
    update: Callable[..., None]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients, those of the copies too."""
        super().zero_grad(set_to_none)
        for _, copy in self.pairs:
            copy.grad = None

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Update what has a gradient: the weights without copies as Adam does, then the others."""
        loss = super().step(closure)
        pairs = [(weight, copy) for weight, copy in self.pairs if copy.grad is not None]
        if not pairs:
            return loss
        if pairs[0][0] not in self.state:
            steps = torch.zeros((), device=pairs[0][0].device)
            for weight, _ in pairs:
                moments = {name: torch.zeros_like(weight) for name in ("exp_avg", "exp_avg_sq")}
                self.state[weight] = {"step": steps, **moments}
        states = [self.state[weight] for weight, _ in pairs]
        group = self.param_groups[0]
        size, root = self.correct(states[0]["step"], group["lr"], *group["betas"])
        self.update(
            [weight for weight, _ in pairs],
            [copy for _, copy in pairs],
            [copy.grad for _, copy in pairs],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            size,
            root,
            *group["betas"],
            group["eps"],
        )
        return loss


def writing_copies(
    optimizer: torch.optim.Optimizer, pairs: Pairs, *, compiled: bool
) -> CopyingAdam:
    """Turn an Adam into one that updates these weights and their copies, in place."""
    made: Any = optimizer
    made.__class__ = CopyingAdam
    made.pairs = pairs
    made.correct, made.update = _compiled() if compiled else (_correct, _update)
    copying: CopyingAdam = made
    return copying


@cache
def _compiled() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Compile once in a process: every new function would be compiled again."""
    options = {"combo_kernels": True} if is_on("combo") else {}
    return compile_once(_correct, options), compile_once(_update, options)


def _correct(
    step: torch.Tensor, rate: float | torch.Tensor, beta1: float, beta2: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Count a step; return its size and the root that corrects the mean square, scalars.

    They are a kernel of their own: powers in float64 are too dear for every weight, and in float32
    one less a number close to one is too coarse.
    """
    step.add_(1)
    count = step.double()
    size, root = rate / (1 - beta1**count), (1 - beta2**count).sqrt()
    return size.float(), root.float()


def _update(
    weights: list[torch.Tensor],
    copies: list[torch.Tensor],
    gradients: list[torch.Tensor],
    means: list[torch.Tensor],
    squares: list[torch.Tensor],
    size: torch.Tensor,
    root: torch.Tensor,
    beta1: float,
    beta2: float,
    eps: float,
) -> None:
    """Adam (Kingma and Ba 2015, algorithm 1), and a copy of each new weight."""
    for weight, copy, gradient, mean, square in zip(
        weights, copies, gradients, means, squares, strict=True
    ):
        wide = gradient.to(weight.dtype)
        mean.lerp_(wide, 1 - beta1)
        square.mul_(beta2).addcmul_(wide, wide, value=1 - beta2)
        weight.sub_(size * mean / (square.sqrt() / root + eps))
        copy.copy_(weight)
