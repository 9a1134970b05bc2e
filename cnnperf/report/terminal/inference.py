"""Latency, throughput and accuracy of inference as tables: made of a record alone.

Torch-free. A case has a table of its own, with its id above it, so that the figures of every
precision and batch size stand whole in 80 columns.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator

from rich import box
from rich.table import Table
from rich.text import Text

from cnnperf.errors import printable
from cnnperf.record.metrics import ABSENT, format_latency, format_percent, format_rate
from cnnperf.record.schema import (
    CaseRecord,
    Inference,
    InferenceAccuracy,
    InferenceResult,
    PrecisionName,
    Record,
)

HEADS = ("precision", "batch", "p50", "p90", "p99", "images/s", "accuracy", "agreement")

LEGEND = (
    "p50, p90, p99: wait for a batch's predictions with nothing else under way; images/s: batches "
    "queued one after another; agreement: share of the test images predicted as before converting"
)


def inference_tables(record: Record) -> Iterator[Text | Table]:
    """A heading and a table for each case whose inference was measured, then what they show."""
    shown = False
    for case in record.cases:
        measured = [r.inference for r in case.repeats if r.inference is not None]
        if measured:
            yield _heading(case, len(measured))
            yield _table(measured)
            shown = True
    if shown:
        yield Text(LEGEND, style="dim")


def _heading(case: CaseRecord, repeats: int) -> Text:
    trained_in = ", ".join(sorted({repeat.precision for repeat in case.repeats}))
    often = f", medians over {repeats} trainings" if repeats > 1 else ""
    return Text(printable(f"{case.id}: inference, trained in {trained_in}{often}"), style="bold")


def _table(measured: list[Inference]) -> Table:
    """A row a precision and batch size; what belongs to the precision stands in its first row."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for head in HEADS:
        table.add_column(head, justify="left" if head == "precision" else "right", no_wrap=True)
    before: PrecisionName | None = None
    for precision, batch_size in configurations(measured):
        results = [
            result
            for inference in measured
            for result in inference.results
            if (result.precision, result.batch_size) == (precision, batch_size)
        ]
        first = precision != before
        table.add_row(
            precision if first else "",
            f"{batch_size:,}",
            *_result_cells(results),
            *(_accuracy_cells(measured, precision) if first else ("", "")),
        )
        before = precision
    return table


def configurations(measured: list[Inference]) -> list[tuple[PrecisionName, int]]:
    """Those of any repeat, a precision's beside each other, in the order of the record."""
    found = dict.fromkeys(
        (result.precision, result.batch_size)
        for inference in measured
        for result in inference.results
    )
    order = list(dict.fromkeys(precision for precision, _ in found))
    return sorted(found, key=lambda configuration: order.index(configuration[0]))


def _result_cells(results: list[InferenceResult]) -> tuple[str, ...]:
    return (
        _median((r.latency_seconds_p50 for r in results), format_latency),
        _median((r.latency_seconds_p90 for r in results), format_latency),
        _median((r.latency_seconds_p99 for r in results), format_latency),
        _median((r.images_per_second for r in results), format_rate),
    )


def _accuracy_cells(measured: list[Inference], precision: PrecisionName) -> tuple[str, str]:
    found: list[InferenceAccuracy] = [
        accuracy
        for inference in measured
        for accuracy in inference.accuracies
        if accuracy.precision == precision
    ]
    return (
        _median((a.test_accuracy for a in found), format_percent),
        _median((a.agreement_fraction for a in found), format_percent),
    )


def _median(values: Iterable[float | None], text: Callable[[float], str]) -> str:
    present = [value for value in values if value is not None]
    return text(statistics.median(present)) if present else ABSENT
