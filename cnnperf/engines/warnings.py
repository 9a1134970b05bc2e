"""What the `fast` engine says where it could not do as well as it would.

Each warning states what was seen, its likely cause and what to try, in one line.
"""

from __future__ import annotations

from cnnperf.environment import Flag
from cnnperf.metrics import format_bytes


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


def no_bfloat16(error: Exception) -> Flag:
    """A step in bfloat16 failed, and float32 was taken."""
    message = (
        f"A step in bfloat16 failed ({first_line(error)}): trained in float32. Likely a device or "
        "a model that cannot do it, or too little memory: say --cnnperf-precision=bfloat16 to see "
        "the whole error, or float32 not to try."
    )
    return Flag(kind="no_bfloat16", message=message)


def not_compiled(error: Exception) -> Flag:
    """Compiling failed, and training went on without."""
    message = (
        f"torch.compile failed ({first_line(error)}): trained without. Likely a missing C++ "
        "compiler or an operation that it does not know: --cnnperf-compile=on makes it an error "
        "that the record has whole, --cnnperf-compile=off does not try."
    )
    return Flag(kind="not_compiled", message=message)


def not_captured(error: Exception) -> Flag:
    """No CUDA graph could be made, and training went on without."""
    message = (
        f"No CUDA graph could be captured ({first_line(error)}): kernels were launched one by one. "
        "Likely an operation that waits for the host, or too little memory: look for .item() in "
        "the model, or take a smaller batch."
    )
    return Flag(kind="not_captured", message=message)


def first_line(error: Exception, limit: int = 200) -> str:
    """What went wrong, without torch's pages of advice."""
    return f"{type(error).__name__}: {error}".strip().splitlines()[0][:limit]
