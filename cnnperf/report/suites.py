"""Describe what the suites peers, infer, scaling and harness measured, for terminal and page.

A description has columns, rows and a legend; `terminal.run` and `html.sections.results` show it.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from cnnperf.compare.stats import CONFIDENCE, Interval, Shift
from cnnperf.record.group import Cause, Group
from cnnperf.record.metrics import (
    ABSENT,
    format_latency,
    format_percent,
    format_seconds,
    format_share,
)
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

# --- several devices ----------------------------------------------------------------------------

CAUSES: dict[Cause, str] = {
    "compute": "compute",
    "slowest_rank": "slowest",
    "communication": "messages",
    "data": "data",
}
"""What a step's time goes to, as a column calls it."""


def efficiency_of(case: CaseRecord) -> Interval | None:
    """Return the efficiency of a case on several devices with its interval.

    None where it is not known. One pair of trainings has no interval: its ends are infinite or 0.
    """
    values = [value for value in case.values("scaling_efficiency") if value > 0]
    if not values:
        return None
    shift = Shift.paired([0.0] * len(values), [math.log(value) for value in values])
    if not shift.is_decidable:
        return Interval(estimate=values[0], low=0.0, high=math.inf, confidence=CONFIDENCE)
    found = shift.interval()
    low, estimate, high = (math.exp(each) for each in (found.low, found.estimate, found.high))
    return Interval(estimate=estimate, low=low, high=high, confidence=found.confidence)


def group_of(case: CaseRecord) -> str:
    """Return what a case and the same on other numbers of devices have in common."""
    recipe = f"recipe {case.recipe}, engine {case.engine}"
    return f"{case.model}, {case.dataset}, {case.resolution} pixels, {recipe}"


def in_groups(record: Record) -> dict[str, list[CaseRecord]]:
    """Return the cases on several devices, and those on one in a group, by what they train."""
    groups: dict[str, list[CaseRecord]] = {}
    for case in record.cases:
        if case.devices is not None:
            groups.setdefault(group_of(case), []).append(case)
    for cases in groups.values():
        cases.sort(key=lambda case: (case.scaling, case.devices or 0))
    return groups


def _scaling_tables(record: Record) -> Iterator[SuiteTable]:
    for group, cases in in_groups(record).items():
        yield SuiteTable(group, "several devices", list(map(_scaling_row, cases)))


def _scaling_row(case: CaseRecord) -> Row:
    devices, found = case.devices or 1, efficiency_of(case)
    measured = [repeat.group for repeat in case.repeats if repeat.group is not None]
    shares = [each.shares for each in measured]
    stragglers = Counter(name for each in measured if (name := _straggler(each)))
    last, times = stragglers.most_common(1)[0] if stragglers else ("", 0)
    speed_up = None if found is None else devices * found.estimate
    if devices == 1:
        speed_up = 1.0
    return row_of(
        count_cell(devices),
        case.scaling if devices > 1 else ABSENT,
        metric_cell("images_per_second", case.median("images_per_second")),
        figure_cell(speed_up, lambda value: f"{value:.2f} x"),
        (ABSENT, None) if found is None else (_shown(found), found.estimate),
        *(
            figure_cell(median_of(each.get(cause) for each in shares), lambda part: f"{part:.0%}")
            for cause in CAUSES
        ),
        f"{last} ({times} of {len(measured)})" if times else "",
        count_cell(len(case.repeats)),
        case.outcome,
        style=case.outcome,
    )


def _shown(found: Interval) -> str:
    if math.isinf(found.high):
        return format_share(found.estimate)
    return f"{format_share(found.estimate)} ({100 * found.low:.1f} to {100 * found.high:.1f})"


def _straggler(group: Group) -> str | None:
    found = group.straggler
    if found is None:
        return None
    return f"rank {found.rank}" + (f" on {found.host}" if group.nodes > 1 and found.host else "")


SCALING = Suite(
    id="scaling",
    title="Several devices",
    caption="Training on several devices: medians over n trainings",
    legend=(
        "efficiency: speed-up against one device of this run, over the number of devices, with its "
        "95 % interval from trainings of equal seed; strong: the devices share the recipe's batch, "
        "weak: each has it. A step's time: computing, waiting for the slowest rank, messages that "
        "no computation hides, waiting for data; straggler: a rank that computes over 5 % longer "
        "than the median one, and in how many trainings"
    ),
    subject_column=Column(name="group", label="trained"),
    columns=(
        *number_columns(devices="devices"),
        *text_columns(scaling="scaling"),
        *metric_columns(("images_per_second",)),
        *number_columns(speed_up="speed-up", scaling_efficiency="efficiency"),
        *number_columns(**{f"{cause}_fraction": label for cause, label in CAUSES.items()}),
        *text_columns(straggler="straggler"),
        *number_columns(n="n"),
        *text_columns(outcome="outcome"),
    ),
    tables=_scaling_tables,
)

SUITES = (PEERS, INFERENCE, SCALING, HARNESS)
