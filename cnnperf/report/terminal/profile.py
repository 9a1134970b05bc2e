"""Show where the time of a training step goes: a row for each profiled case.

Every share is the median over the repeats, so the shares of a row need not add up to 100 %.
"""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Iterator
from pathlib import Path

from rich.console import RenderableType
from rich.text import Text

from cnnperf.errors import printable
from cnnperf.record.metrics import format_latency
from cnnperf.record.schema import CaseRecord, KernelClass, Profile, Record
from cnnperf.report.terminal.layout import Column, FittingTable

HEADS: dict[KernelClass, str] = {
    "convolution": "conv",
    "matmul": "matmul",
    "normalisation": "norm",
    "activation": "act",
    "pooling": "pool",
    "optimizer": "optim",
    "copy": "copy",
    "other": "other",
    "data_wait": "data",
    "idle": "idle",
}

NEGLIGIBLE = "·"
"""Stands for less than half a thousandth of a step."""

LEGEND = (
    "step: a profiled step, which takes longer than a timed one; the rest in % of it: convolution, "
    "matmul, normalisation, activation, pooling, optimizer, copies, other work, waiting for data, "
    "idle"
)


def profile_tables(record: Record) -> Iterator[RenderableType]:
    """Yield a table of all profiled cases and its legend; nothing where there are none."""
    profiled = [(case.id, profiles) for case in record.cases if (profiles := profiles_of(case))]
    if profiled:
        heads = ("n", "step", *HEADS.values())
        columns = (Column("case", "left"), *map(Column, heads))
        yield FittingTable(columns, [_row(*each) for each in profiled])
        yield Text(LEGEND, style="dim")


def _row(case_id: str, profiles: list[Profile]) -> list[str]:
    step = statistics.median(profile.seconds_per_step for profile in profiles)
    shares = (_share(profiles, kernel_class) for kernel_class in HEADS)
    return [case_id, str(len(profiles)), format_latency(step), *shares]


def _share(profiles: list[Profile], kernel_class: KernelClass) -> str:
    """Return the median share of a step in percent, whole from 10 on."""
    shares = [
        100 * profile.seconds_per_step_by_class.get(kernel_class, 0.0) / profile.seconds_per_step
        for profile in profiles
        if profile.seconds_per_step
    ]
    share = statistics.median(shares) if shares else 0.0
    if share < 0.05:
        return NEGLIGIBLE
    return f"{share:.0f}" if share >= 9.95 else f"{share:.1f}"


def profiles_of(case: CaseRecord) -> list[Profile]:
    """Return the profiles of a case's repeats."""
    return [repeat.profile for repeat in case.repeats if repeat.profile is not None]


def where_traces_are(record: Record, folder: Path | None) -> str | None:
    """Return a line on the traces that a run left in a folder; None where it left none."""
    profiles = [profile for case in record.cases for profile in profiles_of(case)]
    if folder is None or not any(profile.trace for profile in profiles):
        return None
    command = f"tensorboard --logdir {shlex.quote(str(folder))}"
    return printable(f"traces: {folder} ({command}, or open one at https://ui.perfetto.dev)")
