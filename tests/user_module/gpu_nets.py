"""The torch half of `gpu_cases.py`: models that take all memory, or trip an assertion, in a GPU.

They do so for odd seeds alone, so that of two repeats the first is a good one.
"""

import time

import torch
from torch import nn

FROM_STEP = 6
"""The second of epoch 2; what is warmed up on a copy of the model counts on that copy."""

HEAVY_BYTES = 64 * 2**20

SLOW_SECONDS = 0.8


class Net(nn.Module):
    """One linear layer, and what it does from a certain step on."""

    def __init__(self, misbehave=None, ballast_bytes=0):
        super().__init__()
        self.layer = nn.Linear(64, 10)
        self.register_buffer("ballast", torch.zeros(ballast_bytes, dtype=torch.uint8))
        self.misbehave = misbehave if torch.initial_seed() % 2 else None
        self.steps = 0

    def forward(self, images):
        logits = self.layer(images.flatten(1))
        if self.misbehave is None or images.device.type == "meta" or not self.training:
            return logits
        self.steps += 1
        return self.misbehave(logits) if self.steps >= FROM_STEP else logits


def _take_all_memory(logits):
    """Block by block, up to a share of the GPU: the way in which a batch that is too large ends."""
    if logits.is_cuda:
        torch.cuda.set_per_process_memory_fraction(0.02, logits.device)
        blocks = [torch.empty(2**26, dtype=torch.uint8, device=logits.device)]
        while True:
            blocks.append(torch.empty_like(blocks[0]))
    return logits + torch.empty(10**15).sum()


def _trip_an_assertion(logits):
    """An index beyond the classes: on a GPU a kernel's assertion, which ends its process's CUDA."""
    beyond = torch.full((len(logits), 1), 1000, device=logits.device)
    return logits + logits.gather(1, beyond)


class Slow(Net):
    """Multiplies matrices for a while in every step of training."""

    def forward(self, images):
        logits = self.layer(images.flatten(1))
        if images.device.type == "meta" or not self.training:
            return logits
        matrix = torch.randn(4096, 4096, device=images.device)
        end = time.monotonic() + SLOW_SECONDS
        while time.monotonic() < end:
            matrix = torch.tanh(matrix @ matrix)
            float(matrix[0, 0])  # waits, so that no more is queued than there is time for
        return logits + 0 * matrix[0, 0]


def _builder(misbehave=None, ballast_bytes=0):
    def build(*, num_classes, in_channels, resolution):
        return Net(misbehave, ballast_bytes)

    return build


build_greedy = _builder(_take_all_memory)
build_asserting = _builder(_trip_an_assertion)
build_after = _builder()
build_light = _builder()


def build_slow(*, num_classes, in_channels, resolution):
    """See `Slow`."""
    return Slow()


build_heavy = _builder(ballast_bytes=HEAVY_BYTES)
