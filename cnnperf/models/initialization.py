"""Starting weights of convolutions, the same for every model of the suite.

Adam at 1e-3 trains these depths only from weights whose scale keeps the signal's variance from
layer to layer. One place for it, so that two models never differ by their start alone.
"""

from __future__ import annotations

from torch import nn


def initialise_convolutions(module: nn.Module) -> None:
    """Draw every convolution's weights anew and set its biases to zero, in place.

    Weights are normal with mean 0 and variance 2 / (output channels x kernel area), the variant
    that keeps the variance of gradients (He et al. 2015, arXiv:1502.01852, section 2.2). Batch
    norms are left alone: PyTorch already starts them at scale 1 and shift 0.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
