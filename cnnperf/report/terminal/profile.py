"""Where a step's time goes, as a table: made of a record alone.

Torch-free. A row a case: the profiled step, and what share of it each class of work has. Every
share is the median over the repeats, so a row's shares need not make 100 %.
"""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from cnnperf.errors import printable
from cnnperf.record.metrics import format_latency
from cnnperf.record.schema import CaseRecord, KernelClass, Profile, Record

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

NOTHING = "·"
"""What is less than half a thousandth of a step."""

LEGEND = (
    "step: a profiled one, which takes longer than a timed one; then % of it: convolution, matmul, "
    "normalisation, activation, pooling, optimizer, copies, other work, waiting for data, idle"
)


def profile_tables(record: Record) -> Iterator[RenderableType]:
    """A table of all profiled cases; nothing where there are none."""
    if any(map(profiles_of, record.cases)):
        yield ProfileTable(record)
        yield Text(LEGEND, style="dim")


def where_traces_are(record: Record, folder: Path | None) -> str | None:
    """One line on the traces that a run has left in a folder; None where it left none."""
    profiles = [profile for case in record.cases for profile in profiles_of(case)]
    if folder is None or not any(profile.trace for profile in profiles):
        return None
    command = f"tensorboard --logdir {shlex.quote(str(folder))}"
    return printable(f"traces: {folder} ({command}, or open one at https://ui.perfetto.dev)")


@dataclass(frozen=True)
class ProfileTable:
    """The profiled cases; where their ids have no room they stand in lines of their own."""

    record: Record

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The table, below it any ids."""
        numbered = enumerate(self.record.cases, start=1)
        cases = [(number, case) for number, case in numbered if profiles_of(case)]
        table = _table([(printable(case.id), profiles_of(case)) for _, case in cases], "case")
        needed = console.measure(table, options=options.update(max_width=1000)).maximum
        if needed <= options.max_width:
            yield table
            return
        yield _table([(str(number), profiles_of(case)) for number, case in cases], "#")
        for number, case in cases:
            yield Text(f"{number:>2} {printable(case.id)}")


def _table(rows: list[tuple[str, list[Profile]]], label: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column(label, no_wrap=True)
    for head in ("n", "step", *HEADS.values()):
        table.add_column(head, justify="right", no_wrap=True)
    for name, profiles in rows:
        step = statistics.median(profile.seconds_per_step for profile in profiles)
        shares = (_share(profiles, kernel_class) for kernel_class in HEADS)
        table.add_row(Text(name), str(len(profiles)), format_latency(step), *shares)
    return table


def _share(profiles: list[Profile], kernel_class: KernelClass) -> str:
    """Median share of a step, in whole percent from 10 on."""
    shares = [
        100 * profile.seconds_per_step_by_class.get(kernel_class, 0.0) / profile.seconds_per_step
        for profile in profiles
        if profile.seconds_per_step
    ]
    share = statistics.median(shares) if shares else 0.0
    if share < 0.05:
        return NOTHING
    return f"{share:.0f}" if share >= 9.95 else f"{share:.1f}"


def profiles_of(case: CaseRecord) -> list[Profile]:
    """The profiles of a case's repeats, of those that have one."""
    return [repeat.profile for repeat in case.repeats if repeat.profile is not None]
