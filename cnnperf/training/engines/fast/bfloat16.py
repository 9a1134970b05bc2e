"""Whether a CPU is worth being tried in bfloat16 at all.

Torch half. Where a processor, or this torch's oneDNN on it, has no bfloat16 convolution, torch
falls back to one that takes about ten times as long as float32's, and to matrix products of a
hundred times as long. A trial then costs every repeat minutes (over four of them measured for the
modified ResNet on two busy cores with AVX2), while one small convolution says the same in an
instant.

Shapes: `B` images, `C` channels, `H W` pixels, `K` output channels.
"""

from __future__ import annotations

import math
import time

import torch
from torch.nn import functional

HOPELESS = 4.0
"""Times slower; without any bfloat16 it is 10. Emulation by AVX512 costs a factor of about 2, and
may pay where memory is what limits: that is left to the trial."""

ROUNDS = 5
"""Of each precision, in turns; the best counts, since noise only ever makes one slower."""


def is_hopeless(device: torch.device) -> bool:
    """Whether a small convolution in bfloat16 takes many times as long as in float32; CPUs only.

    By the processor time of one thread: on a busy machine, several would wait for each other's
    turn much longer than they compute.
    """
    if device.type != "cpu":
        return False
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _ratio() > HOPELESS
    finally:
        torch.set_num_threads(threads)


def _ratio() -> float:
    """Time in bfloat16 over time in float32."""
    dtypes = (torch.float32, torch.bfloat16)
    best = dict.fromkeys(dtypes, math.inf)
    for _ in range(ROUNDS):
        for dtype in dtypes:
            best[dtype] = min(best[dtype], _convolution_seconds(dtype))
    return best[torch.bfloat16] / best[torch.float32]


def _convolution_seconds(dtype: torch.dtype) -> float:
    """Forward and backward, in the memory order that training has: channels last."""
    images_BCHW = torch.ones(4, 32, 28, 28, dtype=dtype).to(memory_format=torch.channels_last)
    weight_KCHW = torch.ones(32, 32, 3, 3, dtype=dtype).to(memory_format=torch.channels_last)
    inputs = images_BCHW.requires_grad_(), weight_KCHW.requires_grad_()
    start = time.thread_time()
    output_BKHW = functional.conv2d(*inputs, padding=1)
    torch.autograd.grad(output_BKHW, inputs, torch.ones_like(output_BKHW))
    return time.thread_time() - start
