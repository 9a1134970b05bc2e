"""What suites other than `train` measured: engines side by side, inference, the suite's own time.

Torch-free. A section each, where a record has such cases.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

from cnnperf.record.metrics import (
    ABSENT,
    format_latency,
    format_percent,
    format_rate,
    format_seconds,
)
from cnnperf.record.schema import CaseRecord, HarnessTimes, Inference
from cnnperf.report.html.content import (
    Cell,
    Column,
    Row,
    Section,
    Table,
    capitalised,
    number_column,
)
from cnnperf.report.html.sections.runs import (
    Run,
    all_sides,
    count_cell,
    figure_cell,
    key_cells,
    key_columns,
    median_of,
    metric_cell,
    metric_columns,
    row_of,
)
from cnnperf.report.terminal.harness import LABELS
from cnnperf.report.terminal.inference import LEGEND as INFERENCE_LEGEND
from cnnperf.report.terminal.inference import configurations
from cnnperf.report.terminal.peers import COLUMNS as PEER_METRICS
from cnnperf.report.terminal.peers import LEGEND as PEER_LEGEND
from cnnperf.report.terminal.peers import YARDSTICK, peer_groups, speed_ratio, yardstick_of


def suite_sections(runs: Sequence[Run]) -> list[Section]:
    """Those that the runs have something for."""
    sections = (_peers(runs), _inference(runs), _harness(runs))
    return [section for section in sections if section is not None]


# --- peers --------------------------------------------------------------------------------------


def _peers(runs: Sequence[Run]) -> Section | None:
    rows = [row for run in runs for row in _peer_rows(runs, run)]
    if not rows:
        return None
    columns = [
        Column(name="group", label="trained"),
        *key_columns(runs)[1:],
        Column(name="engine", label="engine"),
        number_column("speed_ratio", f"{YARDSTICK} is"),
        *metric_columns(PEER_METRICS),
        number_column("n", "n"),
        Column(name="precision", label="precision"),
        Column(name="outcome", label="outcome"),
    ]
    caption = "Engine against engine: medians over n trainings"
    return Section(
        id="peers",
        title="Other people's training loops",
        paragraphs=[f"{capitalised(PEER_LEGEND)}."],
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
                figure_cell(ratio, lambda value: f"{value:.2f} x"),
                *(metric_cell(name, case.median(name)) for name in PEER_METRICS),
                count_cell(len(case.repeats)),
                ", ".join(sorted({repeat.precision for repeat in case.repeats})) or ABSENT,
                case.outcome,
                style=case.outcome,
            )


# --- inference ----------------------------------------------------------------------------------

INFERENCE_COLUMNS = (
    Column(name="precision", label="precision"),
    number_column("batch_size", "batch"),
    number_column("latency_seconds_p50", "p50"),
    number_column("latency_seconds_p90", "p90"),
    number_column("latency_seconds_p99", "p99"),
    number_column("images_per_second", "images/s"),
    number_column("test_accuracy", "accuracy"),
    number_column("agreement_fraction", "agreement"),
    number_column("n", "n"),
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
            count_cell(batch_size),
            *_inference_cells(measured, precision, batch_size),
            count_cell(len(measured)),
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
        figure_cell(median_of(result.latency_seconds_p50 for result in results), format_latency),
        figure_cell(median_of(result.latency_seconds_p90 for result in results), format_latency),
        figure_cell(median_of(result.latency_seconds_p99 for result in results), format_latency),
        figure_cell(median_of(result.images_per_second for result in results), format_rate),
        figure_cell(median_of(accuracy.test_accuracy for accuracy in accuracies), format_percent),
        figure_cell(
            median_of(accuracy.agreement_fraction for accuracy in accuracies), format_percent
        ),
    ]


# --- the suite itself ---------------------------------------------------------------------------


def _harness(runs: Sequence[Run]) -> Section | None:
    rows = [row for run, case in all_sides(runs) for row in _harness_rows(runs, run, case)]
    if not rows:
        return None
    columns = [
        *key_columns(runs),
        Column(name="span", label="in the order of time"),
        number_column("median_seconds", "median"),
        number_column("largest_seconds", "largest"),
        number_column("n", "n"),
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
            figure_cell(statistics.median(values), format_seconds),
            figure_cell(max(values), format_seconds),
            count_cell(len(values)),
        )
