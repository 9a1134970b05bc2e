"""Choose how to execute a case, before the clock starts: by what the device has, or by a trial.

Shapes: B images of a batch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import torch
from torch import nn

from cnnperf.catalog.specs import WORTHWHILE
from cnnperf.catalog.switches import is_on
from cnnperf.training.clock import synchronize
from cnnperf.training.engines.base import SMALL_RESOLUTION, Engine
from cnnperf.training.engines.fast import fallbacks
from cnnperf.training.engines.fast.compilation import ForwardLoss, compile_forward_loss
from cnnperf.training.engines.fast.fallbacks import is_hopeless
from cnnperf.training.engines.fast.fused_norms import INDUCTOR_OPTIONS
from cnnperf.training.engines.fast.lean_convolutions import only_convolutions_read, skip_biases
from cnnperf.training.engines.fast.working_copies import layers_to_copy
from cnnperf.training.recipe import is_plain_adam

PRECISIONS: dict[str, tuple[torch.dtype | None, ...]] = {
    "auto": (None, torch.bfloat16),
    "float32": (None,),
    "bfloat16": (torch.bfloat16,),
}
"""Dtypes to try for a case's precision; None is float32."""

COMPILE_TRIAL_SECONDS = 600.0
"""On a CPU, compilation is tried only if training will take longer than this: the trial takes time,
and it did not pay where it was measured (docs/performance.md)."""

TRIAL_STEPS_CPU = 2
TRIAL_STEPS = 20
"""Steps timed for each way to execute them, after a few untimed ones; the fastest way trains. An
accelerator needs more: its steps are short and its clocks must rise."""

TRIAL_BATCH_CPU = 4
"""For large images: a batch of 128 at 224 pixels takes a CPU minutes."""


class ChoosingEngine(Engine):
    """The part of the `fast` engine that chooses its precision, and whether to compile."""

    _compiled: ForwardLoss | None = None
    _compiled_batch_size = 0
    _convolutions_read = False
    """Whether nothing but convolutions reads the images."""
    layers_to_copy: Sequence[str] = ()
    """Layers whose weights may have bfloat16 copies."""

    def look_at(self, model: nn.Module) -> None:
        """Skip the biases that batch norm cancels; see what reads the images and the weights.

        A user's model may not run on the meta device; then nothing is skipped.
        """
        pixels, skips = self.case.resolution, is_on("bias")
        with suppress(Exception), torch.device("meta"):
            on_meta = self.make_model().train()
            images_BCHW = torch.empty(2, self.channels, pixels, pixels)
            if skips:
                skip_biases(model, on_meta, images_BCHW)
            self._convolutions_read = only_convolutions_read(on_meta, images_BCHW)
            self.layers_to_copy = layers_to_copy(on_meta, images_BCHW)

    def compile_options(self, device: torch.device) -> dict[str, object]:
        """Return Inductor's options for a device."""
        if device.type != "cuda":
            return {}
        small = self.case.resolution <= SMALL_RESOLUTION
        options: dict[str, object] = dict(INDUCTOR_OPTIONS) if is_on("norm") else {}
        return {**options, "combo_kernels": True} if small and is_on("combo") else options

    def _choose_precision(self) -> float:
        """Set the case's precision, or the faster one; return the seconds of a step in it.

        A GPU with units for bfloat16 needs no trial, which could choose differently each time; only
        a model that fails in it is trained in float32.
        """
        dtypes = PRECISIONS[self.case.precision]
        if self.device.type == "cuda" and self.case.precision == "auto":
            has_units = torch.cuda.get_device_capability(self.device) >= (8, 0)
            dtypes = (torch.bfloat16, None) if has_units else (None,)
        seconds: dict[torch.dtype | None, float] = {}
        for dtype in dtypes:
            if dtype is not None and None in seconds and is_hopeless(self.device):
                continue
            self.autocast_dtype = dtype
            try:
                seconds[dtype] = self._trial_seconds()
            except RuntimeError as error:
                if dtype is None or len(dtypes) == 1:  # there is no other precision to use
                    raise
                self.flags.append(fallbacks.fell_back("no_bfloat16", error))
                continue
            if self.device.type == "cuda":
                break
        reduced = seconds.get(torch.bfloat16, math.inf)
        worthwhile = reduced * WORTHWHILE < seconds.get(None, math.inf)
        self.autocast_dtype = torch.bfloat16 if worthwhile else None
        self.settings["autocast_dtype"] = "bfloat16" if worthwhile else None
        return seconds[self.autocast_dtype]

    def _trial_seconds(self, *, compiled: bool = False) -> float:
        """Time a step with the current settings, on a copy that is discarded.

        On CUDA, where nothing is chosen by time, one step shows that it works.
        """
        size = self._trial_batch_size()
        steps = {"cpu": TRIAL_STEPS_CPU, "cuda": 1}.get(self.device.type, TRIAL_STEPS)
        with self.on_a_copy():
            if compiled:
                options = self.compile_options(self.device)
                self._compiled = compile_forward_loss(self.model, self.loss_function, options)
                self._compiled_batch_size = size
            try:
                for _ in range(max(1, steps // 4)):
                    self.train_step(size)
                step = time_step(lambda: self.train_step(size), steps, self.device)
                return self.ranks.slowest(step)
            finally:
                self._compiled = None

    def _ready_dtype(self) -> torch.dtype | None:
        """Return the dtype in which to keep normalised images; None to normalise each batch.

        On a CPU, normalising all of them takes longer than it saves. In bfloat16 it changes nothing
        if only convolutions read the images, which autocast rounds in the same way.
        """
        if self.device.type != "cuda" or not is_on("resident") or self.recipe.augmentation:
            return None
        return (self.autocast_dtype if self._convolutions_read else None) or torch.float32

    def copies_weights(self, device: torch.device) -> bool:
        """Return whether a compiled Adam is to keep bfloat16 copies of weights: alone, on CUDA.

        What else reads or changes gradients or weights would have to know of the copies.
        """
        recipe = self.recipe
        return (
            device.type == "cuda"
            and is_on("copies")
            and self.autocast_dtype == torch.bfloat16
            and self.ranks.size == 1
            and recipe.accumulate_steps == 1
            and recipe.clip_norm is None
            and recipe.ema_decay is None
            and is_plain_adam(recipe)
        )

    def _trial_batch_size(self) -> int:
        small = self.case.resolution <= SMALL_RESOLUTION
        size = self.own_batch_size
        return size if small or self.device.type != "cpu" else min(size, TRIAL_BATCH_CPU)

    def _is_to_be_compiled(self, step_seconds: float) -> bool:
        """Return whether to compile: on CUDA by default; on a CPU if a trial of long training pays.

        Args:
            step_seconds: seconds of a trial step without compilation.
        """
        if self.case.compile != "auto":
            return self.case.compile == "on"
        if self.device.type != "cpu":
            return self.device.type == "cuda"
        images = self.recipe.epochs * self.dataset.train_images
        if self.recipe.max_steps is not None:
            images = min(images, self.recipe.max_steps * self.recipe.batch_size)
        if step_seconds * images / self._trial_batch_size() < COMPILE_TRIAL_SECONDS:
            return False
        try:
            return self._trial_seconds(compiled=True) * WORTHWHILE < step_seconds
        except Exception as error:
            self.flags.append(fallbacks.fell_back("not_compiled", error))
            return False


def time_step(step: Callable[[], object], steps: int, device: torch.device) -> float:
    """Time a step: on a CPU the fastest of some, since other work only slows; else their mean.

    An accelerator gets all of them at once: a wait after each would leave it idle.
    """
    rounds, each = (steps, 1) if device.type == "cpu" else (1, steps)
    found = []
    for _ in range(rounds):
        synchronize(device)
        start = time.perf_counter()
        for _ in range(each):
            step()
        synchronize(device)
        found.append((time.perf_counter() - start) / each)
    return min(found)
