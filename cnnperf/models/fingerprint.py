"""Hash a model's architecture, so that records are compared only when the model is the same.

A time that falls because a layer was removed is not a speed-up. The hash covers the structure, not
the weights. It is the same for every seed, in every process and, for the layers listed here, in
every version of torch. It does not cover code: two classes with the same name and the same parts
have the same hash, even if their `forward` differs.

    python -c "from cnnperf.models import *; print(model_sha256(build_model('modified_vgg')))"
"""

from __future__ import annotations

import hashlib
import json

import torch
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
"""What defines a layer besides its tensors. Other layers are described by their `extra_repr()`,
whose wording may change with torch and would make an upgrade look like a new model."""


def model_sha256(module: nn.Module) -> str:
    """Hash a module's architecture: its layers, their settings, and its tensors' shapes and types.

    The module may be on any device, including `meta`. The hash is 64 hexadecimal digits.
    """
    description = {
        # Duplicates stay, so that a layer used twice differs from a layer used once.
        "layers": [_layer(*item) for item in module.named_modules(remove_duplicate=False)],
        "parameters": [_tensor(*item) for item in module.named_parameters()],
        "buffers": [_tensor(*item) for item in module.named_buffers()],
    }
    return hashlib.sha256(json.dumps(description, default=str).encode()).hexdigest()


def weights_sha256(module: nn.Module) -> str:
    """Hash the bits of a module's parameters and buffers; 64 hexadecimal digits."""
    found = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        bits = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        found.update(name.encode() + bits.numpy().tobytes())
    return found.hexdigest()


def _layer(name: str, layer: nn.Module) -> list[object]:
    settings = SETTINGS.get(type(layer))
    if settings is None:
        return [name, type(layer).__qualname__, layer.extra_repr()]
    return [name, type(layer).__qualname__, [getattr(layer, setting) for setting in settings]]


def _tensor(name: str, tensor: Tensor) -> list[object]:
    return [name, list(tensor.shape), str(tensor.dtype)]
