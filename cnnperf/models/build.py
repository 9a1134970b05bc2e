"""Builds a registered model by its name, and says what is possible when a request is wrong.

Cases name models as text, since they cross from the pytest process, which has no torch, to the
worker. Here the text becomes a module. Requests are checked before a layer is made: a wrong
channel count would otherwise surface as a shape error deep in the first training step.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable

from torch import nn

from cnnperf.catalog.registry import get_model
from cnnperf.catalog.specs import ModelSpec
from cnnperf.errors import UsageError

ModelBuilder = Callable[..., nn.Module]
"""Called as `builder(num_classes=..., in_channels=..., resolution=...)`."""

MIN_CLASSES = 2
"""With one class every answer is right."""


def build_model(
    name: str,
    num_classes: int = 10,
    in_channels: int | None = None,
    resolution: int | None = None,
) -> nn.Module:
    """Build the model registered under `name`, with fresh weights and in train mode.

    Args:
        name: Name in the registry.
        num_classes: K, the width of the logits; 2 or more.
        in_channels: C of the images (B, C, H, W); None takes the model's first choice.
        resolution: H = W in pixels; None takes the size the model was made for.

    Returns:
        A module, images (B, C, H, W) to logits (B, K), on torch's default device.

    Raises:
        UsageError: The name is not registered, the model cannot take what was asked for, or its
            builder cannot be imported or returns no module.
    """
    spec = get_model(name)
    in_channels = spec.channels[0] if in_channels is None else in_channels
    resolution = spec.resolution if resolution is None else resolution
    _check_request(spec, num_classes, in_channels, resolution)
    model = _resolve_builder(spec)(
        num_classes=num_classes, in_channels=in_channels, resolution=resolution
    )
    if not isinstance(model, nn.Module):
        raise UsageError(
            f"{spec.builder}, the builder of model {name}, must return a torch.nn.Module, "
            f"not {type(model).__name__}"
        )
    return model


def _check_request(
    spec: ModelSpec, num_classes: object, in_channels: object, resolution: object
) -> None:
    """Raise UsageError unless the model can take these."""
    if not _is_whole(num_classes, at_least=MIN_CLASSES):
        raise UsageError(f"{spec.name} takes {MIN_CLASSES} classes or more, not {num_classes!r}")
    # 3.0 and True are equal to a possible count, but no layer takes them as one.
    if not _is_whole(in_channels, at_least=1) or in_channels not in spec.channels:
        raise UsageError(f"{spec.name} takes {_channels_text(spec)}, not {in_channels!r}")
    if not _is_whole(resolution, at_least=spec.min_resolution):
        raise UsageError(
            f"{spec.name} takes images of {spec.min_resolution} pixels a side or more, "
            f"not {resolution!r}"
        )


def _is_whole(value: object, *, at_least: int) -> bool:
    """Tell whether this is an int (a bool is not) and large enough."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= at_least


def _channels_text(spec: ModelSpec) -> str:
    """Name the channel counts a model can take, such as `1 or 3 input channels`."""
    *others, last = map(str, sorted(spec.channels))
    counts = f"{', '.join(others)} or {last}" if others else last
    return f"{counts} input channel{'' if counts == '1' else 's'}"


def _resolve_builder(spec: ModelSpec) -> ModelBuilder:
    """Import the callable that a model's spec names."""
    try:
        builder: ModelBuilder = pkgutil.resolve_name(spec.builder)
    except Exception as error:  # a registered module is anyone's code and may fail in any way
        raise UsageError(
            f"the builder of model {spec.name}, {spec.builder}, cannot be imported "
            f"({type(error).__name__}: {error})"
        ) from error
    return builder
