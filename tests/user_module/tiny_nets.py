"""The torch half of `tiny_cases.py`: images, and models that do something bad in epoch 2."""

import itertools
import os
import signal
import subprocess
import sys
import time

import numpy as np
import torch
from torch import nn

from cnnperf.training.data import RawImages

STEPS_PER_EPOCH = 4


def load_tiny(data_dir):
    """96 training and 32 test images of 8 x 8 pixels: class k has row k % 8 bright."""
    rng = np.random.default_rng(0)
    labels = np.arange(128) % 10
    images = rng.integers(0, 100, (128, 8, 8, 1), dtype=np.uint8)
    images[np.arange(128), labels % 8] += 150
    return RawImages(
        train_images_NHWC=images[:96],
        train_labels_N=labels[:96],
        test_images_NHWC=images[96:],
        test_labels_N=labels[96:],
    )


class Net(nn.Module):
    """One linear layer; `misbehave` is called at step 6, the second of epoch 2."""

    def __init__(self, misbehave=None):
        super().__init__()
        self.layer = nn.Linear(64, 10)
        self.misbehave = misbehave
        self.steps = 0

    def forward(self, images):
        logits = self.layer(images.flatten(1))
        if self.misbehave is None or images.device.type == "meta" or not self.training:
            return logits
        if os.environ.get("TINY_RANK") != os.environ.get("RANK"):  # equal outside of a group
            return logits
        self.steps += 1
        if self.steps == STEPS_PER_EPOCH + 2:
            return self.misbehave(logits)
        return logits


def _kill(logits):
    os.kill(os.getpid(), signal.SIGKILL)


def _eat(logits):
    return logits + torch.empty(10**15).sum()


def _diverge(logits):
    return logits * float("nan")


def _hang(logits):
    time.sleep(3600)


def _raise(logits):
    raise RuntimeError("the cat sat on\nthe keyboard")


def _start_child(logits):
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)  # cnnperf-orphan"])
    time.sleep(3600)


def _leave(logits):
    print("so long, and thanks for all the fish", file=sys.stderr, flush=True)
    os._exit(7)


def _builder(misbehave):
    def build(*, num_classes, in_channels, resolution):
        return Net(misbehave)

    return build


build_good = _builder(None)
build_killed = _builder(_kill)
build_hungry = _builder(_eat)
build_diverging = _builder(_diverge)
build_hanging = _builder(_hang)
build_raising = _builder(_raise)
build_parent = _builder(_start_child)
build_leaving = _builder(_leave)


class Normed(nn.Module):
    """A convolution, batch norm and a layer in float64.

    Batch norm cancels the convolution's bias, which is zero: `fast` skips it. With `parts`, each of
    so many slices of a batch is normalised on its own, and the running statistics are the mean of
    theirs: what local batch norm does on so many devices.
    """

    def __init__(self, parts=1):
        super().__init__()
        self.convolution = nn.Conv2d(1, 1, 3, padding=1)
        nn.init.zeros_(self.convolution.bias)
        self.norms = nn.ModuleList(nn.BatchNorm2d(1, affine=False) for _ in range(parts))
        self.layer = nn.Linear(64, 10)
        self.double()

    def forward(self, images):
        images = self.convolution(images.double())
        count, parts = len(images), len(self.norms)
        if self.training:
            if parts == 1:
                return self.layer(self.norms[0](images).flatten(1))
            bounds = [rank * count // parts for rank in range(parts + 1)]
            slices = [images[a:b] for a, b in itertools.pairwise(bounds)]
            # A device without a share sees one image, which only its statistics learn from.
            normed = [
                norm(part if len(part) else images[:1])[: len(part)]
                for norm, part in zip(self.norms, slices, strict=True)
            ]
            return self.layer(torch.cat(normed).flatten(1))
        shift = sum(norm.running_mean for norm in self.norms) / parts
        spread = sum(norm.running_var for norm in self.norms) / parts
        return self.layer(((images - shift) / (spread + self.norms[0].eps).sqrt()).flatten(1))


def build_normed(*, num_classes, in_channels, resolution):
    return Normed()


def build_twice_normed(*, num_classes, in_channels, resolution):
    return Normed(parts=2)
