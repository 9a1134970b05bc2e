"""Decide whether to try bfloat16 on a CPU at all.

Without bfloat16 convolutions in the processor or in torch's oneDNN, torch uses a fallback that
takes about ten times as long as float32, and a hundred times for matrix products. A trial would
then cost each repeat minutes: more than four were measured for the modified ResNet on two busy
cores with AVX2. One small convolution shows the same at once.

Shapes: B images, C channels, H W pixels, K output channels.
"""

from __future__ import annotations

import math
import time

import torch
from torch.nn import functional

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
