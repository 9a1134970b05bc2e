"""Feed one channel of a grey image to a model for colour images: a third of the first convolution.

The three channels of a repeated grey image are equal, so `sum over c of conv(x, W[:, c])` equals
`conv(x, sum over c of W[:, c])`. The parameter keeps its three slices, and the sum is part of the
graph: each slice gets the same gradient as before, and Adam updates it in the same way. Function
and recipe are unchanged up to rounding.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class GreyConv2d(nn.Conv2d):
    """A convolution for three channels, fed with one of three equal ones."""

    def forward(self, images_B1HW: torch.Tensor) -> torch.Tensor:
        """Convolve with the sum of the weight's slices."""
        return functional.conv2d(
            images_B1HW,
            self.weight.sum(1, keepdim=True),
            self.bias,
            self.stride,
            self.padding,
            self.dilation,
        )


def fold_grey_input(model: nn.Module) -> nn.Module:
    """Change a model for 3 equal channels, in place, so that it takes one of them.

    Raises:
        ValueError: its first convolution does not take 3 channels in one group, has a padding
            other than zeros, or is a subclass of `nn.Conv2d`.
    """
    convolution = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    if (convolution.in_channels, convolution.groups) != (3, 1):
        raise ValueError(f"the first convolution takes {convolution.in_channels} channels, not 3")
    if convolution.padding_mode != "zeros":
        raise ValueError(f"padding mode {convolution.padding_mode} cannot be folded")
    if type(convolution) is not nn.Conv2d:
        raise ValueError(f"a {type(convolution).__name__} cannot be folded, only a plain Conv2d")
    convolution.__class__ = GreyConv2d  # keeps parameters, their names and hooks
    return model
