"""Show the results of a run as tables, made of its record alone."""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from cnnperf.catalog.cases import study_result
from cnnperf.errors import printable
from cnnperf.record.environment import Environment
from cnnperf.record.metrics import (
    ABSENT,
    METRICS,
    Metric,
    format_bytes,
    format_flops,
    format_latency,
    format_share,
)
from cnnperf.record.schema import CaseRecord, KernelClass, Profile, Record, qualities
from cnnperf.report.suites import SUITES, Suite
from cnnperf.report.terminal.layout import Cell, Column, FittingTable, new_table

if TYPE_CHECKING:
    import pytest


METRIC_COLUMNS = (
    "train_seconds",
    "images_per_second",
    "test_accuracy",
    "test_f1_macro",
    "peak_memory_bytes",
    "mfu",
)

STUDY_HEAD = "study: time,\naccuracy, F1"

LEGEND = (
    "medians over n trainings; ± is half the range; MFU is relative to the matmul peak measured in "
    "this run"
)

OUTCOME_STYLES = {"passed": "", "failed": "bold red", "skipped": "yellow"}

MAX_WARNINGS = 6


def run_summary(record: Record) -> RenderableType:
    """Return the results with everything that belongs below them."""
    return Group(
        results_table(record),
        Text(LEGEND, style="dim"),
        *suite_tables(record),
        *profile_tables(record),
        *notes(record),
    )


# --- results ------------------------------------------------------------------------------------


def results_table(record: Record) -> FittingTable:
    """Return a row for each case: medians over its repeats, and the study's figures if any."""
    own = qualities(record.cases)
    metrics = [METRICS[name] for name in METRIC_COLUMNS]
    if own:  # a training of one's own often has no accuracy
        metrics = [each for each in metrics if any(case.values(each.name) for case in record.cases)]
    metrics += own
    heads = ["n", *(metric.label.replace(" ", "\n") for metric in metrics)]
    study = [_study_cell(case) for case in record.cases]
    rows: list[list[Cell]] = [
        [_case_label(case), str(len(case.repeats)), *(_median(case, m) for m in metrics)]
        for case in record.cases
    ]
    if any(study):
        heads.append(STUDY_HEAD)
        rows = [[*row, Text(cell, style="dim")] for row, cell in zip(rows, study, strict=True)]
    columns = (Column("case", "left"), *map(Column, heads))
    return FittingTable(columns, rows, optional=(STUDY_HEAD,))


def _case_label(case: CaseRecord) -> Text:
    text = Text(printable(case.id), style=OUTCOME_STYLES[case.outcome])
    marks: list[str] = [case.outcome] if case.outcome != "passed" else []
    marks += ["shortened"] * case.shortened
    return text.append(f" ({', '.join(marks)})") if marks else text


def _median(case: CaseRecord, metric: Metric) -> str:
    text = metric.show(case.median(metric.name))
    values = case.values(metric.name)
    has_spread = metric.name == "train_seconds" and len(values) > 1
    return f"{text} ±{spread_percent(values):.1f}%" if has_spread else text


def spread_percent(values: list[float]) -> float:
    """Return half the range of some values, as a percentage of its middle."""
    low, high = min(values), max(values)
    return 100 * (high - low) / (high + low) if high + low else 0.0


def _study_cell(case: CaseRecord) -> str:
    row = study_result(case.model, case.dataset, case.recipe)
    if row is None:
        return ""
    time = ABSENT if row.train_seconds is None else f"{row.train_seconds:.0f} s"
    return f"{time}, {format_share(row.test_accuracy)}, {row.test_f1:.3f}"


# --- notes --------------------------------------------------------------------------------------


def notes(record: Record) -> Iterator[Text]:
    """Yield what a reader of the table must know: failures, skips, warnings, an interruption."""
    for case in record.cases:
        if case.error is not None:
            seed = "" if case.error.seed is None else f" (seed {case.error.seed})"
            line = printable(f"{case.outcome}: {case.id}{seed}: {case.error.message}")
            yield Text(line, style=OUTCOME_STYLES[case.outcome])
    yield from _warning_lines(record)
    if record.interrupted:
        text = "interrupted: not every planned training was done"
        yield Text(text, style="yellow")


def _warning_lines(record: Record) -> Iterator[Text]:
    found: dict[str, list[str]] = {}
    for case in record.cases:
        for repeat in case.repeats:
            for flag in repeat.warnings:
                text = f"{case.id} (seed {repeat.seed}): {flag.message}"
                found.setdefault(flag.kind, []).append(text)
    for first, *others in sorted(found.values(), key=len, reverse=True)[:MAX_WARNINGS]:
        more = f" [and {len(others)} more]" if others else ""
        yield Text(printable(f"warning: {first}{more}"), style="yellow")
    if (hidden := len(found) - MAX_WARNINGS) > 0:
        yield Text(f"warning: {hidden} more kinds of warning are in the record", "yellow")


# --- the environment ----------------------------------------------------------------------------


def environment_table(environment: Environment) -> Table:
    """Return a row for each field of a machine; a dash where nothing could be read."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for section, fields in environment.model_dump().items():
        table.add_section()
        table.add_row(section, "", style="bold underline")
        for name, value in _flat(fields):
            table.add_row(Text(printable(name)), Text(printable(value)))
    return table


def flat_environment(environment: Environment) -> dict[str, str]:
    """Return every field as a table shows it, by its path: `hardware.gpu.name`."""
    return dict(_flat(environment.model_dump()))


def _flat(fields: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in fields.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, _field_text(name, value)


def _field_text(name: str, value: object) -> str:
    if value is None or value == []:
        return ABSENT
    if name.endswith("_bytes") and isinstance(value, int):
        return format_bytes(value)
    if isinstance(value, float) and value >= 1e6:
        return format_flops(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " ".join(map(str, value))
    return str(value)


# --- as text ------------------------------------------------------------------------------------


def render(renderable: RenderableType, *, width: int, color: bool) -> str:
    """Return the text for a terminal of this many columns, with or without colours."""
    console = Console(
        width=width,
        force_terminal=color,
        force_jupyter=False,  # else it would display in a notebook at once
        no_color=not color,
        highlight=False,
        color_system="auto",
    )
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def look_of(reporter: pytest.TerminalReporter) -> dict[str, Any]:
    """Return width and colours of pytest's terminal for `render`; a log is at least 120 wide."""
    width = reporter._tw.fullwidth if reporter.isatty else max(reporter._tw.fullwidth, 120)
    return {"width": width, "color": bool(reporter._tw.hasmarkup)}


PAGE_ONLY = ("n", "outcome")
"""Columns left out here: the results above have them."""


def suite_tables(record: Record) -> Iterator[RenderableType]:
    """Yield the tables of every suite that a record has results of."""
    for suite in SUITES:
        yield from tables_of(suite, record)


def tables_of(suite: Suite, record: Record) -> Iterator[RenderableType]:
    """Yield a heading and a table for each subject, then the legend; nothing without results."""
    shown = [index for index, each in enumerate(suite.columns) if each.name not in PAGE_ONLY]
    columns = [
        Column(suite.columns[index].label, "right" if suite.columns[index].is_number else "left")
        for index in shown
    ]
    found = list(suite.tables(record))
    for subject, heading, rows in found:
        yield Text(printable(f"{subject}: {heading}"), style="bold")
        yield new_table(columns, [[row.shown[index] for index in shown] for row in rows])
    if found and suite.legend:
        yield Text(suite.legend, style="dim")


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

PROFILE_LEGEND = (
    "step: a profiled step, which takes longer than a timed one; the rest in % of it: convolution, "
    "matmul, normalisation, activation, pooling, optimizer, copies, other work, waiting for data, "
    "idle"
)


def profile_tables(record: Record) -> Iterator[RenderableType]:
    """Yield a table of all profiled cases and its legend; nothing where there are none."""
    rows = []
    for case in record.cases:
        if profiles := _profiles(case):
            step = statistics.median(profile.seconds_per_step for profile in profiles)
            shares = (_share(profiles, kernel_class) for kernel_class in HEADS)
            rows.append([case.id, str(len(profiles)), format_latency(step), *shares])
    if rows:
        heads = ("n", "step", *HEADS.values())
        yield FittingTable((Column("case", "left"), *map(Column, heads)), rows)
        yield Text(PROFILE_LEGEND, style="dim")


def _share(profiles: list[Profile], kernel_class: KernelClass) -> str:
    """Return the median share of a step in percent; medians need not add up to 100."""
    shares = [
        100 * profile.seconds_per_step_by_class.get(kernel_class, 0.0) / profile.seconds_per_step
        for profile in profiles
        if profile.seconds_per_step
    ]
    share = statistics.median(shares) if shares else 0.0
    if share < 0.05:
        return NEGLIGIBLE
    return f"{share:.0f}" if share >= 9.95 else f"{share:.1f}"


def _profiles(case: CaseRecord) -> list[Profile]:
    return [repeat.profile for repeat in case.repeats if repeat.profile is not None]


def where_traces_are(record: Record, folder: Path | None) -> str | None:
    """Return a line on the traces that a run left in a folder; None where it left none."""
    profiles = [profile for case in record.cases for profile in _profiles(case)]
    if folder is None or not any(profile.trace for profile in profiles):
        return None
    command = f"tensorboard --logdir {shlex.quote(str(folder))}"
    return printable(f"traces: {folder} ({command}, or open one at https://ui.perfetto.dev)")
