"""What the peers do to a batch on its way to the model.

Torch half. Shapes: `B` images, `C` channels, `H W` pixels.
"""

from __future__ import annotations

import torch

from cnnperf.data.augment import augment
from cnnperf.engines.base import Batch
from cnnperf.specs import Recipe


def channels_last(batch: Batch) -> Batch:
    """The same batch with its channels last in memory."""
    images_BCHW, labels_B = batch
    return images_BCHW.contiguous(memory_format=torch.channels_last), labels_B


def augmented(batch: Batch, recipe: Recipe) -> Batch:
    """The batch, changed at random where the recipe says so."""
    if recipe.augmentation is None:
        return batch
    images_BCHW, labels_B = batch
    return augment(images_BCHW, recipe.augmentation), labels_B
