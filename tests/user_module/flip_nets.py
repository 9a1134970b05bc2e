"""The torch half of `flip_cases.py`: a device that computes wrongly.

`CNNPERF_TEST_FLIP` is `always`, or a file: the flip then happens once, and the file says that it
has happened. Without the variable nothing is flipped.
"""

import os
from pathlib import Path

import torch
from torch import nn

STEP = 6
BIT = 1 << 20
"""Of the fraction of a float32."""


class Net(nn.Module):
    """One linear layer, of which a bit of one weight is flipped before the sixth step."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 10)
        self.steps = 0

    def forward(self, images):
        if self.training and images.device.type != "meta":
            self.steps += 1
            if self.steps == STEP and _flips():
                with torch.no_grad():
                    self.layer.weight.view(torch.int32)[0, 0] ^= BIT
        return self.layer(images.flatten(1))


def _flips():
    wanted = os.environ.get("CNNPERF_TEST_FLIP")
    if wanted in (None, "always"):
        return wanted is not None
    try:
        Path(wanted).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def build_flipping(**_):
    """Return the model."""
    return Net()
