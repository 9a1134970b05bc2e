"""The `timm` peer: timm's model of the same architecture, in the loop of `amp`.

timm has no loop to import (its training script is an example), so this peer compares the models.
Its classes and names differ from ours, and so do the model's hash and first weights. From the same
weights, both models compute the same.
"""

from __future__ import annotations

from typing import Any

import timm
from torch import nn

from cnnperf.errors import UsageError
from cnnperf.training.engines.peers.amp import AmpEngine

TIMM_MODELS: dict[str, dict[str, Any]] = {
    "vgg16": {"model_name": "vgg16_bn", "drop_rate": 0.5},  # the dropout of the paper
    "resnet34": {"model_name": "resnet34"},
}
"""Arguments of `timm.create_model`, by the name of our model."""


class TimmEngine(AmpEngine):
    """Timm's model in the loop of `amp`."""

    def make_model(self) -> nn.Module:
        """Build timm's model on the CPU."""
        return timm_model(self.case.model, self.dataset.num_classes, self.channels)


def timm_model(name: str, num_classes: int, in_channels: int) -> nn.Module:
    """Build timm's model of an architecture, with fresh weights.

    Raises:
        UsageError: timm has no such model.
    """
    if name not in TIMM_MODELS:
        raise UsageError(
            f"timm has no model {name}: the engine timm trains {' and '.join(sorted(TIMM_MODELS))}"
        )
    model: nn.Module = timm.create_model(
        pretrained=False, num_classes=num_classes, in_chans=in_channels, **TIMM_MODELS[name]
    )
    return model
