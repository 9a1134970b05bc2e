"""Build a registered model from its name, and draw its first weights.

A case names its model as text, because the pytest process has no torch. The worker turns the name
into a module here. It checks the request first: otherwise a wrong channel count would appear as a
shape error in the first training step. All models draw their first weights by one rule.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from functools import partial

from torch import nn

from cnnperf.catalog.registry import get_model
from cnnperf.catalog.specs import ModelSpec
from cnnperf.errors import UsageError
from cnnperf.models.libraries import build_library_model

ModelBuilder = Callable[..., nn.Module]
"""Called as `builder(num_classes=..., in_channels=..., resolution=...)`."""

MIN_CLASSES = 2
"""With one class, every answer is right."""


def build_model(
    name: str,
    num_classes: int = 10,
    in_channels: int | None = None,
    resolution: int | None = None,
) -> nn.Module:
    """Build the model registered under `name`, with fresh weights and in train mode.

    Args:
        name: A name in the registry.
        num_classes: K, the number of logits; 2 or more.
        in_channels: C of the images (B, C, H, W); the default is the model's first choice.
        resolution: H = W in pixels; the default is the size that the model was designed for.

    Returns:
        A module on torch's default device, from images (B, C, H, W) to logits (B, K).

    Raises:
        UsageError: The name is not registered, the model does not accept the request, or its
            builder cannot be imported or does not return a module.
    """
    spec = get_model(name)
    in_channels = spec.channels[0] if in_channels is None else in_channels
    resolution = spec.resolution if resolution is None else resolution
    _check_request(spec, num_classes, in_channels, resolution)
    wanted = {"num_classes": num_classes, "in_channels": in_channels, "resolution": resolution}
    model = _find_builder(spec)(**wanted, **spec.arguments)
    if not isinstance(model, nn.Module):
        raise UsageError(
            f"{spec.builder}, the builder of model {name}, must return a torch.nn.Module, "
            f"not {type(model).__name__}"
        )
    return model


def _find_builder(spec: ModelSpec) -> ModelBuilder:
    if "/" in spec.builder:
        return partial(build_library_model, spec.builder)
    try:
        builder: ModelBuilder = pkgutil.resolve_name(spec.builder)
    except Exception as error:  # a registered module is user code and may fail in any way
        raise UsageError(
            f"the builder of model {spec.name}, {spec.builder}, cannot be imported "
            f"({type(error).__name__}: {error}): correct the import path or the module"
        ) from error
    return builder


def _check_request(
    spec: ModelSpec, num_classes: object, in_channels: object, resolution: object
) -> None:
    if not _is_int(num_classes, at_least=MIN_CLASSES):
        raise UsageError(f"{spec.name} takes {MIN_CLASSES} classes or more, not {num_classes!r}")
    # 3.0 and True compare equal to a valid count, but no layer accepts them.
    fits = "/" in spec.builder or in_channels in spec.channels
    if not _is_int(in_channels, at_least=1) or not fits:
        *others, last = map(str, sorted(spec.channels))
        counts = f"{', '.join(others)} or {last}" if others else last
        plural = "" if counts == "1" else "s"
        raise UsageError(f"{spec.name} takes {counts} input channel{plural}, not {in_channels!r}")
    if not _is_int(resolution, at_least=spec.min_resolution):
        raise UsageError(
            f"{spec.name} takes images of {spec.min_resolution} pixels a side or more, "
            f"not {resolution!r}"
        )


def _is_int(value: object, *, at_least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= at_least


LINEAR_STD = 0.01
"""Standard deviation of a linear layer's first weights (Krizhevsky et al. 2012, section 5, and
torchvision's VGG; Simonyan & Zisserman 2014, section 3.1, have a variance of 0.01)."""


def initialise(module: nn.Module, *, linears: bool) -> None:
    """Draw the weights of convolutions, and of `linears`; set their biases to zero, in place.

    A convolution's weights are normal with mean 0 and variance 2 / (output channels x kernel area).
    This variant keeps the variance of gradients from layer to layer (He et al. 2015,
    arXiv:1502.01852, section 2.2), which these depths need for Adam at 1e-3. Batch norms stay as
    PyTorch starts them, at scale 1 and shift 0.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        elif linears and isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=LINEAR_STD)
        else:
            continue
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
