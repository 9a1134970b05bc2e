"""What suites other than `train` measured: engines side by side, inference, the suite's own time.

Torch-free. A section each, where a record has such cases.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence

from cnnperf.harness_table import LABELS
from cnnperf.inference_table import LEGEND as INFERENCE_LEGEND
from cnnperf.inference_table import configurations
from cnnperf.metrics import (
    ABSENT,
    format_latency,
    format_percent,
    format_rate,
    format_seconds,
)
from cnnperf.peer_table import COLUMNS as PEER_METRICS
from cnnperf.peer_table import LEGEND as PEER_LEGEND
from cnnperf.peer_table import YARDSTICK, peer_groups, speed_ratio, yardstick_of
from cnnperf.record import CaseRecord, HarnessTimes, Inference
from cnnperf.report.content import Cell, Column, Row, Section, Table
from cnnperf.report.runs import (
    Run,
    all_sides,
    key_cells,
    key_columns,
    median_of,
    metric_cell,
    metric_columns,
    row_of,
)


def suite_sections(runs: Sequence[Run]) -> list[Section]:
    """Those that the runs have something for."""
    sections = (_peers(runs), _inference(runs), _harness(runs))
    return [section for section in sections if section is not None]


def _cell(value: float | None, text: Callable[[float], str]) -> tuple[str, Cell]:
    return (ABSENT, None) if value is None else (text(value), value)


# --- peers --------------------------------------------------------------------------------------


def _peers(runs: Sequence[Run]) -> Section | None:
    rows = [row for run in runs for row in _peer_rows(runs, run)]
    if not rows:
        return None
    columns = [
        Column(name="group", label="trained"),
        *key_columns(runs)[1:],
        Column(name="engine", label="engine"),
        Column(name="speed_ratio", label=f"{YARDSTICK} is", is_number=True),
        *metric_columns(PEER_METRICS),
        Column(name="n", label="n", is_number=True),
        Column(name="precision", label="precision"),
        Column(name="outcome", label="outcome"),
    ]
    caption = "Engine against engine: medians over n trainings"
    return Section(
        id="peers",
        title="Other people's training loops",
        paragraphs=[f"{PEER_LEGEND[:1].upper()}{PEER_LEGEND[1:]}."],
        tables=[Table(id="table-peers", caption=caption, columns=columns, rows=rows)],
    )


def _peer_rows(runs: Sequence[Run], run: Run) -> Iterator[Row]:
    for group, cases in peer_groups(run.record).items():
        yardstick = yardstick_of(cases)
        for case in cases:
            ratio = speed_ratio(yardstick, case) if case.outcome == "passed" else None
            yield row_of(
                group,
                *key_cells(runs, run, "")[1:],
                case.engine,
                _cell(ratio, lambda value: f"{value:.2f} x"),
                *(metric_cell(name, case.median(name)) for name in PEER_METRICS),
                (str(len(case.repeats)), len(case.repeats)),
                ", ".join(sorted({repeat.precision for repeat in case.repeats})) or ABSENT,
                case.outcome,
                style=case.outcome,
            )


# --- inference ----------------------------------------------------------------------------------

INFERENCE_COLUMNS = (
    Column(name="precision", label="precision"),
    Column(name="batch_size", label="batch", is_number=True),
    Column(name="latency_seconds_p50", label="p50", is_number=True),
    Column(name="latency_seconds_p90", label="p90", is_number=True),
    Column(name="latency_seconds_p99", label="p99", is_number=True),
    Column(name="images_per_second", label="images/s", is_number=True),
    Column(name="test_accuracy", label="accuracy", is_number=True),
    Column(name="agreement_fraction", label="agreement", is_number=True),
    Column(name="n", label="n", is_number=True),
)


def _inference(runs: Sequence[Run]) -> Section | None:
    rows = [row for run, case in all_sides(runs) for row in _inference_rows(runs, run, case)]
    if not rows:
        return None
    columns = [*key_columns(runs), *INFERENCE_COLUMNS]
    caption = "Inference with the trained model: medians over n trainings"
    return Section(
        id="inference",
        title="Inference",
        paragraphs=[f"{INFERENCE_LEGEND}."],
        tables=[Table(id="table-inference", caption=caption, columns=columns, rows=rows)],
    )


def _inference_rows(runs: Sequence[Run], run: Run, case: CaseRecord) -> Iterator[Row]:
    measured = [repeat.inference for repeat in case.repeats if repeat.inference is not None]
    for precision, batch_size in configurations(measured):
        yield row_of(
            *key_cells(runs, run, case.id),
            precision,
            (f"{batch_size:,}", batch_size),
            *_inference_cells(measured, precision, batch_size),
            (str(len(measured)), len(measured)),
        )


def _inference_cells(
    measured: Sequence[Inference], precision: str, batch_size: int
) -> list[tuple[str, Cell]]:
    results = [
        result
        for inference in measured
        for result in inference.results
        if (result.precision, result.batch_size) == (precision, batch_size)
    ]
    accuracies = [
        accuracy
        for inference in measured
        for accuracy in inference.accuracies
        if accuracy.precision == precision
    ]
    return [
        _cell(median_of(result.latency_seconds_p50 for result in results), format_latency),
        _cell(median_of(result.latency_seconds_p90 for result in results), format_latency),
        _cell(median_of(result.latency_seconds_p99 for result in results), format_latency),
        _cell(median_of(result.images_per_second for result in results), format_rate),
        _cell(median_of(accuracy.test_accuracy for accuracy in accuracies), format_percent),
        _cell(median_of(accuracy.agreement_fraction for accuracy in accuracies), format_percent),
    ]


# --- the suite itself ---------------------------------------------------------------------------


def _harness(runs: Sequence[Run]) -> Section | None:
    rows = [row for run, case in all_sides(runs) for row in _harness_rows(runs, run, case)]
    if not rows:
        return None
    columns = [
        *key_columns(runs),
        Column(name="span", label="in the order of time"),
        Column(name="median_seconds", label="median", is_number=True),
        Column(name="largest_seconds", label="largest", is_number=True),
        Column(name="n", label="n", is_number=True),
    ]
    caption = "What the suite itself took"
    return Section(
        id="harness",
        title="The suite's own time",
        tables=[Table(id="table-harness", caption=caption, columns=columns, rows=rows)],
    )


def _harness_rows(runs: Sequence[Run], run: Run, case: CaseRecord) -> Iterator[Row]:
    measured: list[HarnessTimes] = [r.harness for r in case.repeats if r.harness is not None]
    if case.suite != "harness" or not measured:
        return
    for field, label in LABELS.items():
        values = [float(getattr(times, field)) for times in measured]
        yield row_of(
            *key_cells(runs, run, case.id),
            label,
            _cell(statistics.median(values), format_seconds),
            _cell(max(values), format_seconds),
            (str(len(values)), len(values)),
        )
