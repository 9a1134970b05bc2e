"""The `fast` engine: the same training, executed as near to the hardware's limit as we can.

Torch half. The same data, split, batch size, optimizer and metrics as `eager`; what differs is how
they are executed:

- the data set lives on the device as bytes, resized once, and a batch is a gather;
- multiplications in bfloat16 where a short measurement says that this is faster here;
- channels last in memory, and Adam in one fused kernel;
- a grey image that a model takes three times is convolved once (`fold_grey_input`);
- evaluation in large batches, and no waiting for the device within an epoch.

Shapes: `B` images of a batch, `N` of a split, `C` channels, `H W` pixels, `K` classes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch
from torch import nn

from cnnperf.clock import synchronize
from cnnperf.data import Split
from cnnperf.engines.base import Batch, Engine, SplitName
from cnnperf.engines.fold import fold_grey_input
from cnnperf.engines.resident import ResidentSplit

TRIAL_STEPS = 2
"""Of each precision, after one that is not timed; the faster one trains."""

TRIAL_BATCH_CPU = 4
"""For the 224-pixel models, a batch of 128 of which takes a CPU minutes."""

WORTHWHILE = 1.05
"""bfloat16 must be this much faster to be taken: below, it would cost precision for nothing."""

SMALL_RESOLUTION = 64
"""Up to this many pixels a side, a whole batch is used even on a CPU, and evaluation takes 1,000
images at once; above, 125."""


class FastEngine(Engine):
    """Plain PyTorch's mathematics at the device's speed; see the module's text."""

    def place(self, model: nn.Module) -> nn.Module:
        """On the device, channels last, and fed one channel where the three would be equal."""
        self.fed_channels = self.channels
        if self.channels == 3 and self.dataset.channels == 1:
            fold_grey_input(model)
            self.fed_channels = 1
        self.settings["channels_last"] = True
        return model.to(self.device).to(memory_format=torch.channels_last)

    def build_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """Adam in one kernel, where this device has that."""
        fused = self.device.type in ("cpu", "cuda", "xpu")
        return torch.optim.Adam(model.parameters(), lr=self.recipe.learning_rate, fused=fused)

    def warm_up(self) -> None:
        """Choose the precision; its trials warm everything up."""
        self.autocast_dtype = self._choose_precision()
        self.settings["autocast_dtype"] = self.autocast_dtype and "bfloat16"

    def _choose_precision(self) -> torch.dtype | None:
        """bfloat16 where it makes a step faster here, else None for float32."""
        seconds: dict[torch.dtype | None, float] = {}
        for dtype in (None, torch.bfloat16):
            try:
                seconds[dtype] = self._trial_seconds(dtype)
            except RuntimeError:  # a device without it
                if dtype is None:
                    raise
        reduced = seconds.get(torch.bfloat16)
        worthwhile = reduced is not None and reduced * WORTHWHILE < seconds[None]
        return torch.bfloat16 if worthwhile else None

    def _trial_seconds(self, dtype: torch.dtype | None) -> float:
        """Time of a step in that precision, on a copy of the model that is thrown away."""
        small = self.case.resolution <= SMALL_RESOLUTION
        on_cpu = self.device.type == "cpu"
        size = self.recipe.batch_size if small or not on_cpu else TRIAL_BATCH_CPU
        self.autocast_dtype = dtype
        with self.on_a_copy():
            self.train_step(size)
            synchronize(self.device)
            start = time.perf_counter()
            for _ in range(TRIAL_STEPS):
                self.train_step(size)
            synchronize(self.device)
            return (time.perf_counter() - start) / TRIAL_STEPS

    def noise(self, size: int) -> Batch:
        """A batch like the recipe's, of noise, in the memory order of real ones."""
        pixels = self.case.resolution
        images_BCHW = torch.randn(size, self.fed_channels, pixels, pixels, device=self.device)
        labels_B = torch.arange(size, device=self.device) % self.dataset.num_classes
        return images_BCHW.contiguous(memory_format=torch.channels_last), labels_B

    def load_data(self) -> None:
        """Read the data set, copy it to the device and resize it there."""
        self.splits = self.read_splits()
        self.resident = {
            "train": self._resident(self.splits.train),
            "validation": self._resident(self.splits.val),
        }
        self._order = torch.Generator(device=self.device).manual_seed(self.seed)

    def _resident(self, split: Split) -> ResidentSplit:
        return ResidentSplit(
            split,
            self.dataset,
            resolution=self.case.resolution,
            channels=self.fed_channels,
            device=self.device,
        )

    def steps_per_epoch(self) -> int:
        """Batches of the training split, the last of which may be short."""
        return -(-len(self.resident["train"]) // self.recipe.batch_size)

    def train_batches(self) -> Iterator[Batch]:
        """Gathered on the device."""
        split = self.resident["train"]
        order_N = torch.randperm(len(split), device=self.device, generator=self._order)
        return map(split.batch, torch.split(order_N, self.recipe.batch_size))

    def evaluation_batches(self, split: SplitName) -> Iterator[Batch]:
        """Large batches; the test images come to the device only now."""
        resident = self.resident.get(split) or self._resident(self.splits.test)
        size = 1000 if self.case.resolution <= SMALL_RESOLUTION else 125
        for first in range(0, len(resident), size):
            yield resident.slice(first, first + size)
