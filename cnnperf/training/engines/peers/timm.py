"""The `timm` peer: timm's model of the same architecture in the loop of `amp`.

Torch half. timm has no loop to import (its training script is an example), so this peer compares
the models. Its modules are other classes with other names, so the model's hash differs from ours,
and it draws its first weights in its own way; what it computes from the same weights is the same.
"""

from __future__ import annotations

from typing import Any

import timm
from torch import nn

from cnnperf.errors import UsageError
from cnnperf.training.engines.peers.amp import AmpEngine

TIMM_MODELS: dict[str, dict[str, Any]] = {
    "vgg16": {"model_name": "vgg16_bn", "drop_rate": 0.5},  # the paper's, which timm leaves out
    "resnet34": {"model_name": "resnet34"},
}
"""Arguments of `timm.create_model`, by our model's name."""


class TimmEngine(AmpEngine):
    """The loop of `amp` with timm's model."""

    def make_model(self) -> nn.Module:
        """Timm's model instead of ours."""
        return timm_model(self.case.model, self.dataset.num_classes, self.channels)


def timm_model(name: str, num_classes: int, in_channels: int) -> nn.Module:
    """Timm's model of that architecture, with fresh weights.

    Raises:
        UsageError: it has none.
    """
    if name not in TIMM_MODELS:
        raise UsageError(
            f"timm has no model {name}: the engine timm trains {' and '.join(sorted(TIMM_MODELS))}"
        )
    model: nn.Module = timm.create_model(
        pretrained=False, num_classes=num_classes, in_chans=in_channels, **TIMM_MODELS[name]
    )
    return model
