"""A hash of a model's architecture, so that two records are compared only when it is the same.

A time that fell because somebody dropped a layer is no speed-up. The hash covers what is built,
not what it learned: it is equal for every seed, in every process and, for the layers listed here,
in every version of torch. It cannot see code: two classes of one name whose `forward` differ, but
whose parts do not, hash alike.

    python -c "from cnnperf.models import *; print(model_sha256(build_model('modified_vgg')))"
"""

from __future__ import annotations

import hashlib
import json

from torch import Tensor, nn

SETTINGS: dict[type[nn.Module], tuple[str, ...]] = {
    nn.AdaptiveAvgPool2d: ("output_size",),
    nn.BatchNorm2d: ("eps", "momentum", "affine", "track_running_stats"),
    nn.Conv2d: ("stride", "padding", "dilation", "groups", "padding_mode"),
    nn.Dropout: ("p", "inplace"),
    nn.Identity: (),
    nn.Linear: (),
    nn.MaxPool2d: ("kernel_size", "stride", "padding", "dilation", "ceil_mode"),
    nn.ReLU: ("inplace",),
    nn.Sequential: (),
}
"""What defines a layer beyond its tensors. Other layers are described by their `extra_repr()`,
whose wording may change with torch: for these it would make an upgrade look like a new model."""


def model_sha256(module: nn.Module) -> str:
    """Hash a module's architecture: its layers, their settings, and its tensors' shapes and types.

    Args:
        module: Any module, on any device; `meta` will do.

    Returns:
        64 hexadecimal digits, the same whatever the weights.
    """
    description = {
        # Duplicates stay in, or a layer used twice would look like one used once.
        "layers": [_layer(*item) for item in module.named_modules(remove_duplicate=False)],
        "parameters": [_tensor(*item) for item in module.named_parameters()],
        "buffers": [_tensor(*item) for item in module.named_buffers()],
    }
    return hashlib.sha256(json.dumps(description, default=str).encode()).hexdigest()


def _layer(name: str, layer: nn.Module) -> list[object]:
    """Describe a layer: its place, its type and its settings."""
    settings = SETTINGS.get(type(layer))
    if settings is None:
        return [name, type(layer).__qualname__, layer.extra_repr()]
    return [name, type(layer).__qualname__, [getattr(layer, setting) for setting in settings]]


def _tensor(name: str, tensor: Tensor) -> list[object]:
    """Describe a parameter or buffer: its place, shape and type."""
    return [name, list(tensor.shape), str(tensor.dtype)]
