"""Convolutions without work that has no effect: equal input channels, and biases that vanish.

**Grey images.** A model for colour images gets a grey one three times. The three channels are
equal, so `sum over c of conv(x, W[:, c])` equals `conv(x, sum over c of W[:, c])`. The parameter
keeps its three slices, and the sum is part of the graph: each slice gets the same gradient as
before, and Adam updates it in the same way.

**Biases in front of batch norm.** Batch norm subtracts the mean over the batch, and with it the
bias, whose gradient is therefore zero. One that starts at zero stays there; in practice it drifts
by rounding errors, which the running mean follows. The parameter is kept, but training neither adds
nor differentiates it.

Function and recipe are unchanged up to rounding.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm


class LeanConv2d(nn.Conv2d):
    """A plain convolution that leaves out what `fold_grey_input` and `skip_biases` found."""

    one_of_three = False
    """Whether it is fed one of three equal channels."""
    without_bias = False
    """Whether batch norm cancels its bias, which is zero."""
    working: torch.Tensor | None = None
    """A copy of the weight for autocast (working_copies.py)."""

    def forward(self, images_BCHW: torch.Tensor) -> torch.Tensor:
        """Convolve with less work, to the same effect."""
        weight: torch.Tensor = self.weight
        if self.one_of_three:
            weight = weight.sum(1, keepdim=True)
        elif self.working is not None and torch.is_autocast_enabled(images_BCHW.device.type):
            weight = self.working
        return functional.conv2d(
            images_BCHW,
            weight,
            None if self.training and self.without_bias else self.bias,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
        )


def fold_grey_input(model: nn.Module) -> nn.Module:
    """Change a model for 3 equal channels, in place, so that it takes one of them.

    Raises:
        ValueError: its first convolution does not take 3 channels in one group, has a padding
            other than zeros, or is a subclass of `nn.Conv2d`.
    """
    convolution: Any = next(each for each in model.modules() if isinstance(each, nn.Conv2d))
    if (convolution.in_channels, convolution.groups) != (3, 1):
        raise ValueError(f"the first convolution takes {convolution.in_channels} channels, not 3")
    if convolution.padding_mode != "zeros":
        raise ValueError(f"padding mode {convolution.padding_mode} cannot be folded")
    if not is_plain(convolution):
        raise ValueError(f"a {type(convolution).__name__} cannot be folded, only a plain Conv2d")
    convolution.__class__ = LeanConv2d  # keeps parameters, their names and hooks
    convolution.one_of_three = True
    return model


def skip_biases(model: nn.Module, on_meta: nn.Module, images_BCHW: torch.Tensor) -> list[str]:
    """Skip the biases that batch norm cancels, in place, and return the convolutions' names.

    A bias is skipped if it is zero, its convolution is a plain one that runs once, and nothing but
    a batch norm with the batch's own statistics uses the result.

    Args:
        model: the model.
        on_meta: the same model in train mode on the meta device, which is run once.
        images_BCHW: its input, on the meta device.
    """
    cancelled = _feed_batch_norm(on_meta, images_BCHW)
    skipped = []
    for name in sorted(cancelled):
        module: Any = model.get_submodule(name)
        if is_plain(module) and not module.bias.any():
            module.__class__ = LeanConv2d
            module.without_bias = True
            skipped.append(name)
    # DistributedDataParallel waits for the gradient of every parameter that it is not told about.
    ignored: Any = [f"{name}.bias" for name in skipped]
    model._ddp_params_and_buffers_to_ignore = ignored
    return skipped


def only_convolutions_read(model: nn.Module, images_BCHW: torch.Tensor) -> bool:
    """Run a model and return whether convolutions, and no other layers, get the images as such."""
    readers: set[bool] = set()

    def note(module: nn.Module, given: tuple[Any, ...]) -> None:
        if given and given[0] is images_BCHW and not list(module.children()):
            readers.add(isinstance(module, nn.Conv2d))

    handles = [module.register_forward_pre_hook(note) for module in model.modules()]
    try:
        model(images_BCHW)
    finally:
        for handle in handles:
            handle.remove()
    return readers == {True}


def is_plain(module: nn.Module) -> bool:
    """Return whether a module is a convolution that `LeanConv2d` can replace."""
    return type(module) in (nn.Conv2d, LeanConv2d) and module.padding_mode == "zeros"


def _feed_batch_norm(model: nn.Module, images_BCHW: torch.Tensor) -> set[str]:
    """Return the names of convolutions with a bias whose results only batch norms use.

    Autograd's graph tells who uses a result: hooks would not see a function that reads it.
    """
    made: dict[Any, list[str]] = {}
    normalised: dict[Any, bool] = {}
    names = {module: name for name, module in model.named_modules()}

    def keep_result(convolution: nn.Module, _given: Any, result_BCHW: torch.Tensor) -> None:
        made.setdefault(result_BCHW.grad_fn, []).append(names[convolution])

    def keep_input(norm: nn.Module, given: tuple[torch.Tensor], _result: Any) -> None:
        normalised[given[0].grad_fn] = norm.training

    handles = [
        module.register_forward_hook(keep_input if isinstance(module, _BatchNorm) else keep_result)
        for module in model.modules()
        if isinstance(module, _BatchNorm)
        or (isinstance(module, nn.Conv2d) and module.bias is not None)
    ]
    try:
        result = model(images_BCHW)
    finally:
        for handle in handles:
            handle.remove()
    users = count_users(result.grad_fn)
    runs = Counter(name for names in made.values() for name in names)
    return {
        names[0]
        for function, names in made.items()
        if function is not None and users[function] == 1 and normalised.get(function)
        if runs[names[0]] == 1
    }


def count_users(function: Any) -> Counter[Any]:
    """Count, for each node of autograd's graph, the nodes that use its result."""
    users: Counter[Any] = Counter()
    seen, waiting = {function}, [function]
    while waiting:
        for before, _ in waiting.pop().next_functions:
            if before is None:
                continue
            users[before] += 1
            if before not in seen:
                seen.add(before)
                waiting.append(before)
    return users
