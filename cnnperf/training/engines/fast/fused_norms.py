"""Batch norm, ReLU and max pooling as one operation, for torch's compiler to move fewer bytes.

- **Batch norm and ReLU.** The compiler would read ReLU's result twice in the backward pass, as its
  mask. Here the mask is computed from batch norm's input, which is read anyway.
- **With 2 x 2 pooling behind them.** The compiler would store ReLU's result before it pools. Here
  it is never stored: one byte per window says which pixel was the largest.
- **ReLU of a sum**, as at the end of a residual block. Its gradient is used three times; the
  compiler would compute it each time, from the gradients of all later blocks. Here it is stored.

All is written in torch's operations, of which the compiler makes kernels, and equals the layers up
to rounding.

Shapes: B images of a batch, C channels, H W pixels, h w windows.
"""

from __future__ import annotations

import hashlib
import inspect
import operator
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import fx
from torch.nn import functional

INDUCTOR_OPTIONS = {"realize_reads_threshold": 8, "realize_opcount_threshold": 100}
"""With its default thresholds (4 and 30) Inductor stores what is to be computed in one kernel: a
normalised pixel reads 5 tensors, and the largest of four takes about 60 operations."""

RELUS = (functional.relu, torch.relu, torch.relu_)
TENSORS = ("input", "running_mean", "running_var", "weight", "bias")
"""Those of `torch.nn.functional.batch_norm`, in the order of `norm_and_relu`."""

SUMS = (operator.add, operator.iadd, torch.add)

NO_GRADIENT = 4
"""In place of the largest pixel of a window, 0 to 3, if ReLU sets all of them to zero."""


def fuse_norms(graph: fx.GraphModule) -> int:
    """Replace the three patterns in a graph of Dynamo's, and return how many were replaced.

    A batch norm is replaced if it uses the batch's own statistics and keeps running ones. Nothing
    is replaced if something else reads a result between the operations.
    """
    count = 0
    for node in list(graph.graph.nodes):
        if node.op != "call_function" or node.target not in RELUS:
            continue
        before = node.args[0]
        if len(before.users) > 1 or before.op != "call_function":
            continue
        if before.target is functional.batch_norm:
            given = _arguments(functional.batch_norm, before)
            if not _can_fuse(given):
                continue
            pool = next(iter(node.users), None) if len(node.users) == 1 else None
            pools = pool is not None and _halves(pool)
            replaced = [before, node, pool] if pools else [before, node]
            arguments = [given[name] for name in (*TENSORS, "momentum", "eps")]
            _replace(graph, replaced, norm_and_relu, *arguments, pools)
        elif _is_sum(before):
            _replace(graph, [before, node], sum_and_relu, *before.args)
        else:
            continue
        count += 1
    graph.recompile()
    return count


@cache
def known_functions() -> dict[str, str]:
    """Return the functions put into graphs, by name, with what they depend on.

    torch's cache of compiled graphs refuses functions that it is not told about.
    """
    source = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    return {f"{each.__module__}.{each.__name__}": source for each in (norm_and_relu, sum_and_relu)}


def norm_and_relu(
    x_BCHW: torch.Tensor,
    running_mean_C: torch.Tensor,
    running_variance_C: torch.Tensor,
    weight_C: torch.Tensor,
    bias_C: torch.Tensor,
    momentum: float,
    eps: float,
    pools: bool,
) -> torch.Tensor:
    """Return ReLU of batch norm in training, and with `pools` its largest of each 2 x 2 pixels.

    The arguments are those of `torch.nn.functional.batch_norm`.
    """
    count = x_BCHW.numel() // x_BCHW.shape[1]
    with torch.no_grad():
        variance_C, mean_C = torch.var_mean(_widened(x_BCHW), (0, 2, 3), correction=0)
        running_mean_C.mul_(1 - momentum).add_(mean_C * momentum)
        running_variance_C.mul_(1 - momentum).add_(variance_C * (momentum * count / (count - 1)))
        inverse_C = torch.rsqrt(variance_C + eps)
    function: Any = _NormReLUPool if pools else _NormReLU
    result: torch.Tensor = function.apply(x_BCHW, weight_C, bias_C, mean_C, inverse_C)
    return result


class _NormReLU(torch.autograd.Function):
    """From x (B, C, H, W), weight, bias, the batch's mean and inverse deviation (C)."""

    @staticmethod
    def forward(ctx: Any, *given: Any) -> torch.Tensor:
        ctx.save_for_backward(*given)
        x_BCHW, weight_C, bias_C, mean_C, inverse_C = given
        return _normalise(x_BCHW, weight_C, bias_C, mean_C, inverse_C).relu()

    @staticmethod
    def backward(ctx: Any, gradient_BCHW: torch.Tensor) -> Any:
        x_BCHW, weight_C, bias_C, mean_C, inverse_C = ctx.saved_tensors
        positive_BCHW = _normalise(x_BCHW, weight_C, bias_C, mean_C, inverse_C) > 0
        passed_BCHW = torch.where(positive_BCHW, gradient_BCHW, 0)
        return _norm_backward(passed_BCHW, x_BCHW, weight_C, mean_C, inverse_C)


class _NormReLUPool(torch.autograd.Function):
    """The same with the largest of each 2 x 2 pixels; an odd last row or column is left out."""

    @staticmethod
    def forward(ctx: Any, *given: Any) -> torch.Tensor:
        x_BCHW, weight_C, bias_C, mean_C, inverse_C = given
        height, width = (size // 2 * 2 for size in x_BCHW.shape[2:])
        largest_BChw, *others = (
            _normalise(x_BCHW[:, :, i:height:2, j:width:2], weight_C, bias_C, mean_C, inverse_C)
            for i in (0, 1)
            for j in (0, 1)
        )
        # torch's partitioner keeps for the backward pass, and does not compute again, what the
        # result needs and what shrinks to a quarter or less: here from int64 to a byte.
        which_BChw = torch.zeros_like(largest_BChw, dtype=torch.int64)
        for k, other_BChw in enumerate(others, start=1):  # of equal pixels the first, as in torch
            which_BChw = torch.where(other_BChw > largest_BChw, k, which_BChw)
            largest_BChw = torch.maximum(largest_BChw, other_BChw)
        which_BChw = torch.where(largest_BChw <= 0, NO_GRADIENT, which_BChw).to(torch.uint8)
        ctx.save_for_backward(x_BCHW, weight_C, mean_C, inverse_C, which_BChw)
        return torch.where(which_BChw == NO_GRADIENT, 0, largest_BChw)

    @staticmethod
    def backward(ctx: Any, gradient_BChw: torch.Tensor) -> Any:
        x_BCHW, weight_C, mean_C, inverse_C, which_BChw = ctx.saved_tensors
        height, width = x_BCHW.shape[2:]
        rows_H, columns_W = (torch.arange(n, device=x_BCHW.device) % 2 for n in (height, width))
        own_HW = (2 * rows_H)[:, None] + columns_W
        chosen_BCHW = _spread(which_BChw, height, width, NO_GRADIENT) == own_HW
        spread_BCHW = _spread(gradient_BChw, height, width, 0)
        passed_BCHW = torch.where(chosen_BCHW, spread_BCHW, 0)
        return _norm_backward(passed_BCHW, x_BCHW, weight_C, mean_C, inverse_C)


class _SumReLU(torch.autograd.Function):
    """ReLU of the sum of two tensors of one shape."""

    @staticmethod
    def forward(ctx: Any, *summands: torch.Tensor) -> torch.Tensor:
        result = (summands[0] + summands[1]).relu()
        ctx.save_for_backward(result)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        (result,) = ctx.saved_tensors
        passed = stored(torch.where(result > 0, gradient, 0))
        return passed, passed


def stored(value: torch.Tensor) -> torch.Tensor:
    """Let Inductor store a tensor that it would otherwise compute again for each use."""
    from torch._inductor.inductor_prims import force_stride_order

    result: torch.Tensor = force_stride_order(value, value.stride())
    return result


def _widened(x: torch.Tensor) -> torch.Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _per_channel(values_C: torch.Tensor) -> torch.Tensor:
    return values_C[:, None, None]


def _normalise(
    x_BCHW: torch.Tensor,
    weight_C: torch.Tensor,
    bias_C: torch.Tensor,
    mean_C: torch.Tensor,
    inverse_C: torch.Tensor,
) -> torch.Tensor:
    centred_BCHW = _widened(x_BCHW) - _per_channel(mean_C)
    scaled_BCHW = centred_BCHW * _per_channel(inverse_C * weight_C)
    return (scaled_BCHW + _per_channel(bias_C)).to(x_BCHW.dtype)


def _norm_backward(
    gradient_BCHW: torch.Tensor,
    x_BCHW: torch.Tensor,
    weight_C: torch.Tensor,
    mean_C: torch.Tensor,
    inverse_C: torch.Tensor,
) -> tuple[torch.Tensor | None, ...]:
    """Return the gradients of x, weight and bias (Ioffe and Szegedy 2015, section 3)."""
    count = x_BCHW.numel() // x_BCHW.shape[1]
    gradient_BCHW = _widened(gradient_BCHW)
    centred_BCHW = _widened(x_BCHW) - _per_channel(mean_C)
    sum_C = gradient_BCHW.sum((0, 2, 3))
    product_C = (gradient_BCHW * centred_BCHW).sum((0, 2, 3))
    along_C = product_C * inverse_C.square() / count
    less_BCHW = gradient_BCHW - _per_channel(sum_C / count) - centred_BCHW * _per_channel(along_C)
    x_gradient_BCHW = less_BCHW * _per_channel(inverse_C * weight_C)
    return x_gradient_BCHW.to(x_BCHW.dtype), product_C * inverse_C, sum_C, None, None


def _spread(windows_BChw: torch.Tensor, height: int, width: int, outside: int) -> torch.Tensor:
    """Return the value of each pixel's window (B, C, H, W), channels last in memory."""
    B, C, h, w = windows_BChw.shape
    windows_BhwC = windows_BChw.permute(0, 2, 3, 1)
    pixels_BhwC = windows_BhwC[:, :, None, :, None].expand(B, h, 2, w, 2, C)
    pixels_BCHW = pixels_BhwC.reshape(B, 2 * h, 2 * w, C).permute(0, 3, 1, 2)
    return functional.pad(pixels_BCHW, (0, width - 2 * w, 0, height - 2 * h), value=outside)


# --- the patterns in a graph ------------------------------------------------------------------


def _replace(graph: fx.GraphModule, nodes: Sequence[fx.Node], by: Any, *arguments: Any) -> None:
    with graph.graph.inserting_before(nodes[-1]):
        new = graph.graph.call_function(by, arguments)
    new.meta = dict(nodes[-1].meta)
    nodes[-1].replace_all_uses_with(new)
    for node in reversed(nodes):
        graph.graph.erase_node(node)


def sum_and_relu(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Return ReLU of a sum."""
    if first.shape != second.shape or first.dtype != second.dtype:
        return (first + second).relu()
    result: torch.Tensor = _SumReLU.apply(first, second)
    return result


def _can_fuse(given: dict[str, Any]) -> bool:
    """Return whether a batch norm trains on images, with weights and running statistics."""
    return (
        given["training"] is True
        and all(isinstance(given[name], fx.Node) for name in TENSORS)
        and given["input"].meta["example_value"].dim() == 4
    )


def _is_sum(node: fx.Node) -> bool:
    """Return whether a node adds two tensors, and changes none that something else reads."""
    if node.target not in SUMS or node.kwargs:
        return False
    in_place = node.target is operator.iadd and len(node.args[0].users) > 1  # type: ignore[union-attr]
    return not in_place and all(isinstance(each, fx.Node) for each in node.args)


def _halves(pool: fx.Node) -> bool:
    """Return whether a node is max pooling of 2 x 2 pixels without overlap."""
    if pool.op != "call_function" or pool.target is not functional.max_pool2d:
        return False
    given = _arguments(functional.max_pool2d_with_indices, pool)
    pair = {"kernel_size": 2, "stride": 2, "padding": 0, "dilation": 1}
    given["stride"] = given["stride"] or given["kernel_size"]
    return not (given["ceil_mode"] or given["return_indices"]) and all(
        given[name] in (value, (value, value)) for name, value in pair.items()
    )


def _arguments(function: Any, node: fx.Node) -> dict[str, Any]:
    """Return all arguments of a call by name, with the function's defaults."""
    bound = inspect.signature(function).bind(*node.args, **node.kwargs)
    bound.apply_defaults()
    return dict(bound.arguments)
