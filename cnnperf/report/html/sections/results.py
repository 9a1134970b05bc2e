"""Results as tables: a row for each case, training, epoch and warning."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from cnnperf.catalog.cases import StudyResult, study_result
from cnnperf.record.metrics import (
    ABSENT,
    METRICS,
    Metric,
    format_plain,
    format_seconds,
    format_share,
)
from cnnperf.record.schema import CaseRecord, qualities
from cnnperf.report.html.content import (
    Cell,
    Column,
    Row,
    Section,
    Table,
    number_columns,
    text_columns,
)
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
from cnnperf.report.html.sections.scaling import scaling_figures
from cnnperf.report.suites import SCALING, SUITES, Suite
from cnnperf.report.terminal.run import spread_percent
from cnnperf.report.wording import capitalised

RESULTS = (
    "images_per_second",
    "test_accuracy",
    "test_f1_macro",
    "time_to_accuracy_seconds",
    "peak_memory_bytes",
    "mfu",
    "energy_joules",
)

MAX_OPEN_WARNINGS = 10
"""A longer table of warnings is closed: each takes several lines."""

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

STUDY_COLUMNS = number_columns(
    report_train_seconds="study: train time",
    report_test_accuracy="study: accuracy",
    report_test_f1_macro="study: F1",
)


def results_section(runs: Sequence[Run]) -> Section:
    """Build the table that readers look at first."""
    cases = [case for _, case in all_sides(runs)]
    missing = [
        METRICS[name].label for name in RESULTS if not any(case.values(name) for case in cases)
    ]
    look = (
        "Look at train time and accuracy first. Values are medians of n trainings, each in its own "
        "process. With n = 1 there is no spread (half the range of the train times): a small "
        "difference may be noise."
    )
    absent = [f"Not measured here: {', '.join(missing)}."] if missing else []
    return Section(
        id="results", title="Results", paragraphs=[look, *absent], tables=[results_table(runs)]
    )


def results_table(runs: Sequence[Run]) -> Table:
    """Build a row for each case and run."""
    in_study = any(study_row(case) for _, case in all_sides(runs))
    own = qualities(case for _, case in all_sides(runs))
    table = Table(
        id="table-results",
        caption=f"Results{', with the published figures of the study' * in_study}",
        columns=[
            *key_columns(runs),
            *text_columns(outcome="outcome"),
            *number_columns(n="n"),
            *metric_columns(["train_seconds"]),
            *number_columns(train_seconds_spread_fraction="spread"),
            *metric_columns(RESULTS),
            *own_columns(own),
            *STUDY_COLUMNS,
        ],
        rows=[_result(runs, run, case, own) for run, case in all_sides(runs)],
        is_closed=False,
    )
    return without_empty(table)


def own_columns(metrics: Iterable[Metric]) -> list[Column]:
    """Return a column for each quality of the user's."""
    return number_columns(**{metric.name: metric.label for metric in metrics})


def own_cells(
    metrics: Iterable[Metric], value: Callable[[str], float | None]
) -> list[tuple[str, Cell]]:
    """Return the cells below `own_columns`."""
    return [figure_cell(value(metric.name), metric.format) for metric in metrics]


def _result(runs: Sequence[Run], run: Run, case: CaseRecord, own: Sequence[Metric]) -> Row:
    seconds = case.values("train_seconds")
    spread = spread_percent(seconds) / 100 if len(seconds) > 1 else None
    outcome = f"{case.outcome}, shortened" if case.shortened else case.outcome
    style = "shortened" if case.shortened and case.outcome == "passed" else case.outcome
    return row_of(
        *key_cells(runs, run, case.id),
        outcome,
        count_cell(len(case.repeats)),
        metric_cell("train_seconds", case.median("train_seconds")),
        figure_cell(spread, lambda value: f"±{format_share(value)}"),
        *(metric_cell(name, case.median(name)) for name in RESULTS),
        *own_cells(own, case.median),
        *study_cells(study_row(case)),
        style=style,
    )


def study_row(case: CaseRecord) -> StudyResult | None:
    """Return the study's figures of this training; None where it was shortened."""
    return None if case.shortened else study_result(case.model, case.dataset, case.recipe)


def study_cells(row: StudyResult | None) -> list[tuple[str, Cell]]:
    """Return the study's figures, as precise as it states them."""
    if row is None:
        return [(ABSENT, None)] * len(STUDY_COLUMNS)
    return [
        figure_cell(row.train_seconds, lambda seconds: f"{seconds:,.0f} s"),
        (format_share(row.test_accuracy), row.test_accuracy),
        (format_share(row.test_f1), row.test_f1),
    ]


def repeats_section(runs: Sequence[Run]) -> Section:
    """Build tables of every training, epoch and warning."""
    warnings = _warnings_table(runs)
    look = (
        "Look here when a median surprises you: a training with a warning, a p99 far above p50, or "
        "a high data wait often explains it. The CSV files have all digits."
    )
    tables = [_repeats_table(runs), _epochs_table(runs), *([warnings] if warnings.rows else [])]
    return Section(
        id="trainings",
        title="Every training",
        paragraphs=[look, *_graph_note(runs)],
        tables=tables,
    )


def _graph_note(runs: Sequence[Run]) -> list[str]:
    """Say which step percentiles are of means; none where every step was timed."""
    found: dict[int, list[str]] = {}
    for _, case, repeat in all_repeats(runs):
        steps = (repeat.settings and repeat.settings.cuda_graph_steps) or 1
        if steps > 1 and case.id not in found.setdefault(steps, []):
            found[steps].append(case.id)
    if not found:
        return []
    sizes = "; ".join(
        f"{steps} steps in {', '.join(case_ids)}" for steps, case_ids in sorted(found.items())
    )
    return [
        "Some step times are means, because a CUDA graph is timed as a whole: of "
        f"{sizes}. Their p90 and p99 show no single slow step, and cannot be compared with those "
        "of graphs of another size."
    ]


def _repeats_table(runs: Sequence[Run]) -> Table:
    own = qualities(case for _, case in all_sides(runs))
    rows = [
        row_of(
            *key_cells(runs, run, case.id),
            (str(repeat.seed), repeat.seed),
            repeat.precision or ABSENT,
            *(metric_cell(name, repeat.value(name)) for name in REPEATS),
            *own_cells(own, repeat.value),
            ", ".join(flag.kind for flag in repeat.warnings),
            style="flagged" if repeat.warnings else None,
        )
        for run, case, repeat in all_repeats(runs)
    ]
    columns = [
        *key_columns(runs), *number_columns(seed="seed"), *text_columns(precision="precision"),
        *metric_columns(REPEATS), *own_columns(own), *text_columns(warnings="warnings"),
    ]  # fmt: skip
    table = Table(id="table-trainings", caption="Each training", columns=columns, rows=rows)
    return without_empty(table)


EPOCH_COLUMNS: dict[str, tuple[str, Callable[[float], str]]] = {
    "train_seconds": ("training", format_seconds),
    "val_seconds": ("validation", format_seconds),
    "train_loss": ("train loss", format_plain),
    "val_loss": ("val loss", format_plain),
    "val_accuracy": ("val accuracy", METRICS["val_accuracy"].format),
    "val_f1_macro": ("val F1", METRICS["test_f1_macro"].format),
}
"""Label and format of an epoch's values."""


def _epochs_table(runs: Sequence[Run]) -> Table:
    labels = {name: label for name, (label, _) in EPOCH_COLUMNS.items()}
    epochs = (epoch for _, _, repeat in all_repeats(runs) for epoch in repeat.epochs)
    own = sorted({name for epoch in epochs for name in epoch.metrics} - labels.keys())
    rows = [
        row_of(
            *key_cells(runs, run, case.id),
            (str(repeat.seed), repeat.seed),
            count_cell(epoch.epoch),
            *(figure_cell(getattr(epoch, name), show) for name, (_, show) in EPOCH_COLUMNS.items()),
            *(figure_cell(epoch.metrics.get(name), format_plain) for name in own),
        )
        for run, case, repeat in all_repeats(runs)
        for epoch in repeat.epochs
    ]
    table = Table(
        id="table-epochs",
        caption="Each epoch: times, losses, validation",
        columns=[
            *key_columns(runs),
            *number_columns(seed="seed", epoch="epoch", **labels, **{name: name for name in own}),
        ],
        rows=rows,
        is_closed=True,
    )
    return without_empty(table)


def _warnings_table(runs: Sequence[Run]) -> Table:
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
    return Table(
        id="table-warnings",
        caption="Warnings: reasons to doubt a training",
        columns=[
            *key_columns(runs), *number_columns(seed="seed"), *text_columns(kind="kind"),
            *number_columns(value="value"), *text_columns(message="message"),
        ],
        rows=rows,
        is_closed=len(rows) > MAX_OPEN_WARNINGS or None,
    )  # fmt: skip


def suite_sections(runs: Sequence[Run]) -> list[Section]:
    """Return a section for each suite that a run has results of."""
    sections = [_suite_section(runs, suite) for suite in SUITES]
    return [section for section in sections if section.tables[0].rows]


def _suite_section(runs: Sequence[Run], suite: Suite) -> Section:
    table = Table(
        id=f"table-{suite.id}",
        caption=suite.caption,
        columns=[suite.subject_column, *key_columns(runs)[1:], *suite.columns],
        rows=_suite_rows(runs, suite),
    )
    paragraphs = [f"{capitalised(suite.legend)}."] if suite.legend else []
    figures = scaling_figures(runs) if suite is SCALING else []
    return Section(
        id=suite.id, title=suite.title, paragraphs=paragraphs, tables=[table], figures=figures
    )


def _suite_rows(runs: Sequence[Run], suite: Suite) -> list[Row]:
    found: dict[str, list[Row]] = {}
    for run in runs:
        for table in suite.tables(run.record):
            keys = key_cells(runs, run, table.subject)
            found.setdefault(table.subject, []).extend(
                Row(shown=[*keys, *row.shown], values=[*keys, *row.values], style=row.style)
                for row in table.rows
            )
    return [row for rows in found.values() for row in rows]
