"""Where `fast` takes a slower way: the warnings, and the test that avoids bfloat16 on some CPUs.

Each warning gives what happened, its likely cause and what to try, in one line.

Shapes: B images, C channels, H W pixels, K output channels.
"""

from __future__ import annotations

import math
import time
from typing import Literal

import torch
from torch.nn import functional

from cnnperf.catalog.specs import Recipe
from cnnperf.record.environment import Flag
from cnnperf.training.recipe import can_reset

FAILURES = {
    "no_bfloat16": (
        "A training step in bfloat16 failed",
        "The case was trained in float32. The likely cause is a device or model without bfloat16, "
        "or too little memory: --cnnperf-precision=bfloat16 records the full error, "
        "--cnnperf-precision=float32 skips the trial.",
    ),
    "not_compiled": (
        "torch.compile failed",
        "The case was trained without compilation. The likely cause is a missing C++ compiler or "
        "an unsupported operation: --cnnperf-compile=on records the full error, "
        "--cnnperf-compile=off skips compilation.",
    ),
    "not_captured": (
        "No CUDA graph could be captured",
        "Kernels were launched one by one. The likely cause is an operation that waits for the "
        "host, or too little memory: look for .item() in the model, or use a smaller batch.",
    ),
    "evaluation_not_captured": (
        "Evaluation could not be compiled and captured as a CUDA graph",
        "Its kernels were launched one by one. The likely cause is an operation that waits for the "
        "host in evaluation only: look for .item() in the model.",
    ),
}
"""By kind of flag: what failed; what was done instead, the likely cause, and what to try."""


def fell_back(
    kind: Literal["no_bfloat16", "not_compiled", "not_captured", "evaluation_not_captured"],
    error: Exception,
) -> Flag:
    """Return the warning that a faster way failed and training went on without it."""
    what, instead = FAILURES[kind]
    return Flag(kind=kind, message=f"{what} ({first_line(error)}). {instead}")


def why_not_captured(recipe: Recipe) -> str | None:
    """Return why a graph cannot hold the steps of a recipe; None if it can."""
    if recipe.accumulate_steps > 1:
        return "the recipe accumulates gradients"
    if not can_reset(recipe):
        return "the optimizer's state cannot be set back after the capture"
    return None


def not_captured(reason: str, *, kind: str = "not_captured") -> Flag:
    """Return the warning that there are no CUDA graphs although nothing failed on this rank."""
    message = (
        f"No CUDA graph was captured: {reason}. Kernels were launched one by one, which is slower "
        "for small images."
    )
    return Flag(kind=kind, message=message)


def not_capturable(reason: str) -> Flag:
    """Return the note that a recipe cannot be captured: a fact on every machine, not a failure."""
    return not_captured(reason, kind="not_capturable")


def first_line(error: Exception, limit: int = 200) -> str:
    """Return an error's type and the first line of its message, without torch's long advice.

    Of a line that only announces the next one, such as "backend='...' raised:", both are returned.
    """
    lines = f"{type(error).__name__}: {error}".strip().splitlines()
    return " ".join(lines[: 1 + lines[0].endswith(":")])[:limit]


HOPELESS_RATIO = 4.0
"""Time in bfloat16 over time in float32 above which bfloat16 is not tried. The fallback takes 10
times as long. Emulation with AVX512 takes about 2 times as long and may still pay where memory is
the limit, so the trial decides that."""

ROUNDS = 5
"""Timings of each precision, alternating; the shortest counts, because noise only adds time."""


def is_hopeless(device: torch.device) -> bool:
    """Return whether the device is a CPU on which a bfloat16 convolution is far slower.

    The measure is the processor time of one thread: on a busy machine, several threads would mostly
    wait for each other.
    """
    if device.type != "cpu":
        return False
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        dtypes = (torch.float32, torch.bfloat16)
        best = dict.fromkeys(dtypes, math.inf)
        for _ in range(ROUNDS):
            for dtype in dtypes:
                best[dtype] = min(best[dtype], _convolution_seconds(dtype))
        return best[torch.bfloat16] / best[torch.float32] > HOPELESS_RATIO
    finally:
        torch.set_num_threads(threads)


def _convolution_seconds(dtype: torch.dtype) -> float:
    """Time one convolution, forward and backward, channels last as in training."""
    images_BCHW = torch.ones(4, 32, 28, 28, dtype=dtype).to(memory_format=torch.channels_last)
    weight_KCHW = torch.ones(32, 32, 3, 3, dtype=dtype).to(memory_format=torch.channels_last)
    inputs = images_BCHW.requires_grad_(), weight_KCHW.requires_grad_()
    start = time.thread_time()
    output_BKHW = functional.conv2d(*inputs, padding=1)
    torch.autograd.grad(output_BKHW, inputs, torch.ones_like(output_BKHW))
    return time.thread_time() - start
