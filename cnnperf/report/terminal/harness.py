"""What the suite itself costs per training, as a table: made of a record alone.

Torch-free. Every repeat has these times; they are shown for the cases that train next to nothing,
where they can be told from the noise of a training.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from rich import box
from rich.table import Table
from rich.text import Text

from cnnperf.errors import printable
from cnnperf.record.metrics import format_seconds
from cnnperf.record.schema import CaseRecord, HarnessTimes, Record

LABELS = {
    "start_seconds": "start of the process",
    "import_seconds": "imports",
    "prepare_seconds": "model, warm-up, compiling",
    "ready_latency_seconds": "`ready` on its way",
    "arm_seconds": "state of the machine read",
    "go_latency_seconds": "`go` on its way",
    "trained_latency_seconds": "`trained` on its way",
    "result_seconds": "counting, hashing, test set",
    "exit_seconds": "end of the process",
    "clocks_apart_seconds": "outside clock less inside clock",
}
"""In the order of `HarnessTimes`, which is the order in which they happen."""


def harness_tables(record: Record) -> Iterator[Text | Table]:
    """A heading and a table for each case that is there to be measured in this way."""
    for case in record.cases:
        measured = [repeat.harness for repeat in case.repeats if repeat.harness is not None]
        if case.suite == "harness" and measured:
            yield _heading(case, len(measured))
            yield _table(measured)


def _heading(case: CaseRecord, repeats: int) -> Text:
    often = f", {repeats} times" if repeats > 1 else ""
    return Text(printable(f"{case.id}: what the suite itself took{often}"), style="bold")


def _table(measured: list[HarnessTimes]) -> Table:
    """A row a span: its median and its largest value."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("in the order of time", no_wrap=True)
    table.add_column("median", justify="right", no_wrap=True)
    table.add_column("largest", justify="right", no_wrap=True)
    for field, label in LABELS.items():
        values = [getattr(times, field) for times in measured]
        table.add_row(label, format_seconds(statistics.median(values)), format_seconds(max(values)))
    return table
