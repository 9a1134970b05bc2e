"""First weights, shared by all models so that their starting points follow one rule."""

from __future__ import annotations

from torch import nn

LINEAR_STD = 0.01
"""Standard deviation of a linear layer's first weights (Krizhevsky et al. 2012, section 5, and
torchvision's VGG; Simonyan & Zisserman 2014, section 3.1, have a variance of 0.01)."""


def initialise_convolutions(module: nn.Module) -> None:
    """Draw the weights of all convolutions and set their biases to zero, in place.

    Weights are normal with mean 0 and variance 2 / (output channels x kernel area). This variant
    keeps the variance of gradients from layer to layer (He et al. 2015, arXiv:1502.01852,
    section 2.2), which these depths need for Adam at 1e-3. Batch norms stay as PyTorch starts
    them, at scale 1 and shift 0.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def initialise_linears(module: nn.Module) -> None:
    """Draw the weights of all linear layers and set their biases to zero, in place."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=LINEAR_STD)
            nn.init.zeros_(layer.bias)
