"""Results as tables: a row a case, a training, an epoch, a warning. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cnnperf.catalog.cases import ReportedResult, reported
from cnnperf.record.metrics import ABSENT, METRICS, format_plain, format_seconds, format_share
from cnnperf.record.schema import CaseRecord
from cnnperf.report.html.content import Cell, Column, Row, Section, Table, number_column
from cnnperf.report.html.sections.runs import (
    Run,
    all_repeats,
    all_sides,
    count_cell,
    figure_cell,
    key_cells,
    key_columns,
    metric_cell,
    metric_columns,
    row_of,
    without_empty,
)
from cnnperf.report.terminal.run import spread_percent

RESULTS = (
    "images_per_second",
    "test_accuracy",
    "test_f1_macro",
    "time_to_accuracy_seconds",
    "peak_memory_bytes",
    "mfu",
    "energy_joules",
)
"""Medians beside the train time, which has its spread."""

MAX_OPEN_WARNINGS = 10
"""Each takes several lines."""

REPEATS = (
    "train_seconds",
    "images_per_second",
    "step_seconds_p50",
    "step_seconds_p90",
    "step_seconds_p99",
    "data_wait_fraction",
    "peak_memory_bytes",
    "energy_joules",
    "mfu",
    "test_accuracy",
    "test_f1_macro",
    "startup_seconds",
    "compile_seconds",
    "test_seconds",
)

REPORTED_COLUMNS = (
    number_column("report_train_seconds", "report: train time"),
    number_column("report_test_accuracy", "report: accuracy"),
    number_column("report_test_f1_macro", "report: F1"),
)


def results_section(runs: Sequence[Run]) -> Section:
    """The table that is looked at first."""
    paragraphs = [
        "Medians over n trainings, each in a process of its own; the spread is half the range of "
        "the train times."
    ]
    missing = _never_measured(runs)
    if missing:
        paragraphs.append(f"Not measured in any training here: {', '.join(missing)}.")
    return Section(
        id="results", title="Results", paragraphs=paragraphs, tables=[results_table(runs)]
    )


def _never_measured(runs: Sequence[Run]) -> list[str]:
    cases = [case for _, case in all_sides(runs)]
    return [METRICS[name].label for name in RESULTS if not any(case.values(name) for case in cases)]


def results_table(runs: Sequence[Run]) -> Table:
    """A row a case and run."""
    columns = [
        *key_columns(runs),
        Column(name="outcome", label="outcome"),
        number_column("n", "n"),
        *metric_columns(["train_seconds"]),
        number_column("train_seconds_spread_fraction", "spread"),
        *metric_columns(RESULTS),
        *REPORTED_COLUMNS,
    ]
    rows = [_result(runs, run, case) for run, case in all_sides(runs)]
    is_reported = any(study_row(case) for _, case in all_sides(runs))
    caption = f"Results{', and what the report says of the same training' * is_reported}"
    return without_empty(
        Table(id="table-results", caption=caption, columns=columns, rows=rows, is_closed=False)
    )


def _result(runs: Sequence[Run], run: Run, case: CaseRecord) -> Row:
    seconds = case.values("train_seconds")
    spread = spread_percent(seconds) / 100 if len(seconds) > 1 else None
    outcome = f"{case.outcome}, shortened" if case.shortened else case.outcome
    style = "shortened" if case.shortened and case.outcome == "passed" else case.outcome
    return row_of(
        *key_cells(runs, run, case.id),
        outcome,
        count_cell(len(case.repeats)),
        metric_cell("train_seconds", case.median("train_seconds")),
        (ABSENT if spread is None else f"±{format_share(spread)}", spread),
        *(metric_cell(name, case.median(name)) for name in RESULTS),
        *reported_cells(study_row(case)),
        style=style,
    )


def study_row(case: CaseRecord) -> ReportedResult | None:
    """What the report has of this training; nothing of one that was shortened."""
    return None if case.shortened else reported(case.model, case.dataset, case.recipe)


def reported_cells(row: ReportedResult | None) -> list[tuple[str, Cell]]:
    """The report's figures, as it gives them."""
    if row is None:
        return [(ABSENT, None)] * 3
    seconds = row.train_seconds
    return [
        (ABSENT if seconds is None else f"{seconds:,.0f} s", seconds),
        (format_share(row.test_accuracy), row.test_accuracy),
        (format_share(row.test_f1), row.test_f1),
    ]


def repeats_section(runs: Sequence[Run]) -> Section:
    """Every training and every epoch, for those who want to count for themselves."""
    warnings = warnings_table(runs)
    return Section(
        id="trainings",
        title="Every training",
        paragraphs=[
            "Step percentiles, memory, energy and warnings of each training, then each epoch; all "
            "can be downloaded, unrounded."
        ],
        tables=[repeats_table(runs), epochs_table(runs), *([warnings] if warnings.rows else [])],
    )


def repeats_table(runs: Sequence[Run]) -> Table:
    """A row a training."""
    columns = [
        *key_columns(runs),
        number_column("seed", "seed"),
        Column(name="precision", label="precision"),
        *metric_columns(REPEATS),
        Column(name="warnings", label="warnings"),
    ]
    rows = [
        row_of(
            *key_cells(runs, run, case.id),
            (str(repeat.seed), repeat.seed),
            repeat.precision,
            *(metric_cell(name, getattr(repeat.metrics, name)) for name in REPEATS),
            ", ".join(flag.kind for flag in repeat.warnings),
            style="flagged" if repeat.warnings else None,
        )
        for run, case, repeat in all_repeats(runs)
    ]
    table = Table(id="table-trainings", caption="Each training", columns=columns, rows=rows)
    return without_empty(table)


EPOCH_COLUMNS = (
    number_column("seed", "seed"),
    number_column("epoch", "epoch"),
    number_column("train_seconds", "training"),
    number_column("val_seconds", "validation"),
    number_column("train_loss", "train loss"),
    number_column("val_loss", "val loss"),
    number_column("val_accuracy", "val accuracy"),
    number_column("val_f1_macro", "val F1"),
)


def epochs_table(runs: Sequence[Run]) -> Table:
    """A row an epoch of each training: times and metrics."""
    columns = [*key_columns(runs), *EPOCH_COLUMNS]
    rows = list(_epoch_rows(runs))
    caption = "Each epoch: times, losses, validation"
    table = Table(id="table-epochs", caption=caption, columns=columns, rows=rows, is_closed=True)
    return without_empty(table)


def _epoch_rows(runs: Sequence[Run]) -> Iterator[Row]:
    for run, case, repeat in all_repeats(runs):
        for epoch in repeat.epochs:
            yield row_of(
                *key_cells(runs, run, case.id),
                (str(repeat.seed), repeat.seed),
                count_cell(epoch.epoch),
                figure_cell(epoch.train_seconds, format_seconds),
                figure_cell(epoch.val_seconds, format_seconds),
                figure_cell(epoch.train_loss, format_plain),
                figure_cell(epoch.val_loss, format_plain),
                metric_cell("val_accuracy", epoch.val_accuracy),
                metric_cell("test_f1_macro", epoch.val_f1_macro),
            )


def warnings_table(runs: Sequence[Run]) -> Table:
    """A row a warning, whole."""
    columns = [
        *key_columns(runs),
        number_column("seed", "seed"),
        Column(name="kind", label="kind"),
        number_column("value", "value"),
        Column(name="message", label="message"),
    ]
    rows = [
        row_of(
            *key_cells(runs, run, case.id),
            (str(repeat.seed), repeat.seed),
            flag.kind,
            figure_cell(flag.value, format_plain),
            flag.message,
        )
        for run, case, repeat in all_repeats(runs)
        for flag in repeat.warnings
    ]
    caption = "Reasons to doubt a training"
    return Table(
        id="table-warnings",
        caption=caption,
        columns=columns,
        rows=rows,
        is_closed=len(rows) > MAX_OPEN_WARNINGS or None,
    )
