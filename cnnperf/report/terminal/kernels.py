"""Show what `cnnperf kernels` found: a row for each case, and what its columns mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from cnnperf.errors import printable
from cnnperf.record.messages import GeneratedStep
from cnnperf.record.metrics import format_bytes
from cnnperf.report.terminal.layout import Column, FittingTable

HEADS = ("Triton\nkernels", "Triton\nbytes", "library\ncalls", "layout\ncopies", "with\natomics")

LEGEND = (
    "per step of the `fast` engine: forward pass, loss and backward pass as generated for {gpu}; "
    "gather, optimizer and evaluation are not included. Triton: kernels that torch writes, and the "
    "bytes that they read and write. Library calls: convolutions, matrix products and other ready "
    "kernels. Layout copies: Triton kernels that read in one memory layout and write in another. "
    "With atomics: those that add to memory atomically. The last two are usually signs of a slow "
    "step."
)


def kernels_table(steps: Mapping[str, GeneratedStep], gpu: str) -> RenderableType:
    """Return a row for each case's step, and the legend."""
    rows = [
        [
            printable(case_id),
            str(step.triton_kernels),
            format_bytes(step.triton_bytes),
            *map(str, (step.library_calls, step.layout_kernels, step.atomic_kernels)),
        ]
        for case_id, step in steps.items()
    ]
    table = FittingTable((Column("case", "left"), *map(Column, HEADS)), rows)
    return Group(table, Text(LEGEND.format(gpu=gpu), style="dim"))


def kernels_json(steps: Mapping[str, GeneratedStep], gpu: str) -> dict[str, Any]:
    """Return the same as JSON."""
    return {
        "gpu": gpu,
        "cases": [{"id": name, **step.model_dump()} for name, step in steps.items()],
    }
