"""Describe what the suites peers, infer and harness measured, for the terminal and the page alike.

A description has columns, rows and a legend; `terminal.run` and `html.sections.results` show it.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from cnnperf.record.metrics import ABSENT, format_latency, format_percent, format_seconds
from cnnperf.record.schema import CaseRecord, Inference, Record
from cnnperf.report.html.content import Column, Row, number_columns, text_columns
from cnnperf.report.html.sections.runs import (
    count_cell,
    figure_cell,
    median_of,
    metric_cell,
    metric_columns,
    row_of,
)
from cnnperf.report.wording import counted


class SuiteTable(NamedTuple):
    """What one case, or one group of peers, measured."""

    subject: str
    """Id of the case, or what the group trained."""
    heading: str
    """What follows the subject in the line above the table."""
    rows: list[Row]


@dataclass(frozen=True, kw_only=True)
class Suite:
    """One suite's tables and the text around them."""

    id: str
    title: str
    caption: str
    legend: str | None = None
    subject_column: Column
    columns: Sequence[Column]
    tables: Callable[[Record], Iterator[SuiteTable]]
    """Yields a table for each subject of a record; nothing where the suite was not run."""


CASE_COLUMN = Column(name="case", label="case")


def _precisions(case: CaseRecord) -> str:
    return ", ".join(sorted({repeat.precision or ABSENT for repeat in case.repeats})) or ABSENT


# --- peers --------------------------------------------------------------------------------------

REFERENCE_ENGINE = "fast"
"""The engine with which the others are compared."""

PEER_METRICS = ("images_per_second", "train_seconds", "test_accuracy", "mfu")


def _peer_tables(record: Record) -> Iterator[SuiteTable]:
    groups: dict[str, list[CaseRecord]] = {}
    for case in record.cases:
        if case.suite == "peers":
            group = f"{case.model}, {case.dataset}, {case.resolution} pixels, recipe {case.recipe}"
            groups.setdefault(group, []).append(case)
    for group, cases in groups.items():
        reference = next((case for case in cases if case.engine == REFERENCE_ENGINE), None)
        cases.sort(key=_images_per_second, reverse=True)
        rows = [_peer_row(reference, case) for case in cases]
        yield SuiteTable(group, "engines compared", rows)


def _peer_row(reference: CaseRecord | None, case: CaseRecord) -> Row:
    """Return an engine's figures; the outcome takes the ratio's place where it did not pass."""
    ratio = figure_cell(speed_ratio(reference, case), lambda value: f"{value:.2f} x")
    return row_of(
        case.engine,
        ratio if case.outcome == "passed" else (case.outcome, None),
        *(metric_cell(name, case.median(name)) for name in PEER_METRICS),
        count_cell(len(case.repeats)),
        _precisions(case),
        case.outcome,
        style=case.outcome,
    )


def speed_ratio(reference: CaseRecord | None, case: CaseRecord) -> float | None:
    """Return the reference's median images per second over the case's, None without either."""
    if reference is None or reference.outcome != "passed":
        return None
    ours, theirs = _images_per_second(reference), _images_per_second(case)
    return ours / theirs if ours and theirs else None


def _images_per_second(case: CaseRecord) -> float:
    return case.median("images_per_second") or 0.0


PEERS = Suite(
    id="peers",
    title="Other people's training loops",
    caption="Engines compared: medians over n trainings",
    legend=(
        "ratio: images/s of the engine `fast` divided by images/s of this engine; train time, "
        "unlike images/s, includes reading the data set and what `fast` does with it once"
    ),
    subject_column=Column(name="group", label="trained"),
    columns=(
        *text_columns(engine="engine"),
        *number_columns(speed_ratio="ratio"),
        *metric_columns(PEER_METRICS),
        *number_columns(n="n"),
        *text_columns(precision="precision", outcome="outcome"),
    ),
    tables=_peer_tables,
)


# --- inference ----------------------------------------------------------------------------------


PERCENTILES = ("p50", "p90", "p99")


def _inference_tables(record: Record) -> Iterator[SuiteTable]:
    for case in record.cases:
        measured = [repeat.inference for repeat in case.repeats if repeat.inference is not None]
        if measured:
            heading = f"inference, trained in {_precisions(case)}"
            if len(measured) > 1:
                heading += f", medians over {len(measured)} trainings"
            yield SuiteTable(case.id, heading, list(_inference_rows(measured)))


def _inference_rows(measured: Sequence[Inference]) -> Iterator[Row]:
    """Yield a row for each precision and batch size of any repeat, one precision after another."""
    results = [result for inference in measured for result in inference.results]
    accuracies = [accuracy for inference in measured for accuracy in inference.accuracies]
    precisions = list(dict.fromkeys(r.precision for r in results))
    shapes = dict.fromkeys((r.precision, r.batch_size) for r in results)
    for precision, batch_size in sorted(shapes, key=lambda shape: precisions.index(shape[0])):
        found = [r for r in results if (r.precision, r.batch_size) == (precision, batch_size)]
        predicted = [a for a in accuracies if a.precision == precision]
        latencies = [
            median_of(getattr(r, f"latency_seconds_{p}") for r in found) for p in PERCENTILES
        ]
        yield row_of(
            precision,
            count_cell(batch_size),
            *(figure_cell(latency, format_latency) for latency in latencies),
            metric_cell("images_per_second", median_of(r.images_per_second for r in found)),
            metric_cell("test_accuracy", median_of(a.test_accuracy for a in predicted)),
            figure_cell(median_of(a.agreement_fraction for a in predicted), format_percent),
            count_cell(len(measured)),
        )


INFERENCE = Suite(
    id="inference",
    title="Inference",
    caption="Inference with the trained model: medians over n trainings",
    legend=(
        "p50, p90, p99: time to predict one batch while nothing else runs; images/s: batches "
        "queued one after another; agreement: share of the test images with the same prediction "
        "as before the conversion to this precision"
    ),
    subject_column=CASE_COLUMN,
    columns=(
        *text_columns(precision="precision"),
        *number_columns(batch_size="batch"),
        *number_columns(**{f"latency_seconds_{p}": p for p in PERCENTILES}),
        *metric_columns(("images_per_second", "test_accuracy")),
        *number_columns(agreement_fraction="agreement", n="n"),
    ),
    tables=_inference_tables,
)


# --- the suite itself ---------------------------------------------------------------------------

HARNESS_LABELS = {
    "start_seconds": "start of the process",
    "import_seconds": "imports",
    "prepare_seconds": "model, warm-up, compiling",
    "ready_latency_seconds": "message `ready` to the parent",
    "arm_seconds": "reading the machine's state",
    "go_latency_seconds": "message `go` to the worker",
    "trained_latency_seconds": "message `trained` to the parent",
    "result_seconds": "counting, hashing, test set",
    "exit_seconds": "end of the process",
    "clocks_apart_seconds": "outside clock minus inside clock",
}
"""By field of `HarnessTimes`, in the order in which they happen."""


def _harness_tables(record: Record) -> Iterator[SuiteTable]:
    """Skip other suites: only in a training of one step do these times stand out from its noise."""
    for case in record.cases:
        measured = [repeat.harness for repeat in case.repeats if repeat.harness is not None]
        if case.suite == "harness" and measured:
            heading = f"time of the suite itself, {counted(len(measured), 'training')}"
            rows = []
            for field, label in HARNESS_LABELS.items():
                values = [getattr(times, field) for times in measured]
                shown = (statistics.median(values), max(values))
                cells = (figure_cell(seconds, format_seconds) for seconds in shown)
                rows.append(row_of(label, *cells, count_cell(len(values))))
            yield SuiteTable(case.id, heading, rows)


HARNESS = Suite(
    id="harness",
    title="The suite's own time",
    caption="Time that the suite itself took",
    subject_column=CASE_COLUMN,
    columns=(
        *text_columns(span="what, in order of time"),
        *number_columns(median_seconds="median", largest_seconds="largest", n="n"),
    ),
    tables=_harness_tables,
)

SUITES = (PEERS, INFERENCE, HARNESS)
