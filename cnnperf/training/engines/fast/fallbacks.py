"""What the `fast` engine says where it could not do as well as it would.

Each warning states what was seen, its likely cause and what to try, in one line.
"""

from __future__ import annotations

from typing import Literal

from cnnperf.record.environment import Flag
from cnnperf.record.metrics import format_bytes

FAILURES = {
    "no_bfloat16": (
        "A step in bfloat16 failed",
        "trained in float32. Likely a device or a model that cannot do it, or too little memory: "
        "--cnnperf-precision=bfloat16 makes it an error that the record has whole, float32 does "
        "not try.",
    ),
    "not_compiled": (
        "torch.compile failed",
        "trained without. Likely a missing C++ compiler or an operation that it does not know: "
        "--cnnperf-compile=on makes it an error that the record has whole, --cnnperf-compile=off "
        "does not try.",
    ),
    "not_captured": (
        "No CUDA graph could be captured",
        "kernels were launched one by one. Likely an operation that waits for the host, or too "
        "little memory: look for .item() in the model, or take a smaller batch.",
    ),
}
"""By kind: what failed; what was done instead, why it may be, and what to try."""


def fell_back(
    kind: Literal["no_bfloat16", "not_compiled", "not_captured"], error: Exception
) -> Flag:
    """A faster way failed, and training went on without it."""
    what, instead = FAILURES[kind]
    return Flag(kind=kind, message=f"{what} ({first_line(error)}): {instead}")


def streamed(
    *, needed_bytes: int, free_bytes: int, share: float, chunk_images: int, resolution: int
) -> Flag:
    """The data set does not fit the device."""
    message = (
        f"The data set needs {format_bytes(needed_bytes)} at {resolution} pixels, and of the "
        f"{format_bytes(free_bytes)} free on the device it may take {share:.0%}: it was brought "
        f"there {chunk_images:,} images at a time, which takes longer. End what else uses that "
        "memory, or take a smaller resolution."
    )
    return Flag(kind="streamed", value=float(needed_bytes), message=message)


def first_line(error: Exception, limit: int = 200) -> str:
    """What went wrong, without torch's pages of advice."""
    return f"{type(error).__name__}: {error}".strip().splitlines()[0][:limit]
