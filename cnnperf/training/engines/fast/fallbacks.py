"""Warnings of the `fast` engine where it had to use a slower way.

Each warning gives what happened, its likely cause and what to try, in one line.
"""

from __future__ import annotations

from typing import Literal

from cnnperf.record.environment import Flag
from cnnperf.record.metrics import format_bytes

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
}
"""By kind of flag: what failed; what was done instead, the likely cause, and what to try."""


def fell_back(
    kind: Literal["no_bfloat16", "not_compiled", "not_captured"], error: Exception
) -> Flag:
    """Return the warning that a faster way failed and training went on without it."""
    what, instead = FAILURES[kind]
    return Flag(kind=kind, message=f"{what} ({first_line(error)}). {instead}")


def streamed(
    *, needed_bytes: int, free_bytes: int, share: float, chunk_images: int, resolution: int
) -> Flag:
    """Return the warning that the data set does not fit the device."""
    message = (
        f"The data set needs {format_bytes(needed_bytes)} at {resolution} pixels, more than "
        f"{share:.0%} of the {format_bytes(free_bytes)} free on the device. It was copied there "
        f"{chunk_images:,} images at a time, which is slower. Stop other programs that use this "
        "memory, or use a smaller resolution."
    )
    return Flag(kind="streamed", value=float(needed_bytes), message=message)


def first_line(error: Exception, limit: int = 200) -> str:
    """Return an error's type and the first line of its message, without torch's long advice."""
    return f"{type(error).__name__}: {error}".strip().splitlines()[0][:limit]
