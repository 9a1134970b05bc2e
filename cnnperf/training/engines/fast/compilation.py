"""Compile forward pass and loss with torch's Inductor.

Compiling takes seconds to minutes and is cached on disk: the first repeat of a case compiles, the
next one finds the result. The record tells them apart.

Shapes: B images of a batch, C channels, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal
from unittest import mock

import torch
from torch import nn

from cnnperf.catalog.switches import is_on
from cnnperf.training.engines.fast.fused_norms import fuse_norms, known_functions

ForwardLoss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From images (B, C, H, W) and labels (B) to the mean loss, a scalar."""


def compile_forward_loss(
    model: nn.Module,
    loss_function: ForwardLoss,
    options: Mapping[str, Any] | None = None,
    **more: Any,
) -> ForwardLoss:
    """Compile model and loss as one graph for one shape, at the first call.

    `options` are Inductor's; `more` are arguments of its `compile_fx`.
    """

    def forward_loss(images_BCHW: torch.Tensor, labels_B: torch.Tensor) -> torch.Tensor:
        return loss_function(model(images_BCHW), labels_B)

    compiled: ForwardLoss = compile_once(forward_loss, options, **more)
    return compiled


def compile_once(
    function: Callable[..., Any], options: Mapping[str, Any] | None = None, **more: Any
) -> Callable[..., Any]:
    """Compile a function as one graph for one shape, at the first call, by torch's Inductor."""

    def backend(graph: Any, inputs: Any) -> Any:
        from torch._inductor import compile_fx, config

        if is_on("norm"):
            fuse_norms(graph)
        compiler: Any = torch.compiler.config
        kept = f"{compiler.cache_key_tag} kept {KEPT}" if is_on("pool") else compiler.cache_key_tag
        known = {**config.unsafe_marked_cacheable_functions, **known_functions()}
        with (
            compiler.patch(cache_key_tag=kept),  # the caches do not know the table
            config.patch(unsafe_marked_cacheable_functions=known),
            mock.patch.object(compile_fx, "select_decomp_table", _decompositions),
        ):
            return compile_fx.compile_fx(graph, inputs, config_patches=dict(options or {}), **more)

    return torch.compile(function, backend=backend, fullgraph=True, dynamic=False)


KEPT = (torch.ops.aten.max_pool2d_with_indices_backward.default,)
"""Operations that Inductor lowers well, but new versions of torch decompose first (2.14 does, 2.11
does not): the gradient of max pooling becomes a fill with zeros and atomic additions in float32, in
contiguous layout."""


def _decompositions() -> dict[Any, Callable[..., Any]]:
    """Return Inductor's table without what is kept.

    A function of a module, because its name enters the key of torch's cache: a table given to
    `compile_fx` cannot, and would switch the cache off.
    """
    from torch._inductor.decomposition import select_decomp_table

    kept = KEPT if is_on("pool") else ()
    return {op: how for op, how in select_decomp_table().items() if op not in kept}


def cache_state() -> Literal["cold", "warm"]:
    """Return `warm` if everything compiled in this process came from the cache on disk."""
    from torch._dynamo.utils import counters  # torch has no public name for them

    counts = counters["inductor"]
    hits, misses = counts["fxgraph_cache_hit"], counts["fxgraph_cache_miss"]
    return "warm" if hits and not misses else "cold"
