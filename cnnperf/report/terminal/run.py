"""Show the results of a run as tables, made of its record alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypedDict

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
    format_bytes,
    format_flops,
    format_share,
    show,
)
from cnnperf.record.schema import CaseRecord, Record
from cnnperf.report.terminal.layout import Cell, Column, FittingTable
from cnnperf.report.terminal.layout import fits as fits
from cnnperf.report.terminal.profile import profile_tables
from cnnperf.report.terminal.suites import suite_tables

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
"""Head of the column with the study's own figures of the same training."""

LEGEND = (
    "medians over n trainings; ± is half the range; MFU is relative to the matmul peak measured in "
    "this run"
)

OUTCOME_STYLES = {"passed": "", "failed": "bold red", "skipped": "yellow"}

MAX_WARNINGS = 6
"""Kinds of warning that are shown."""


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
    heads = ["n", *(METRICS[name].label.replace(" ", "\n") for name in METRIC_COLUMNS)]
    study = [_study_cell(case) for case in record.cases]
    rows: list[list[Cell]] = [
        [_case_label(case), str(len(case.repeats)), *(_median(case, n) for n in METRIC_COLUMNS)]
        for case in record.cases
    ]
    if any(study):
        heads.append(STUDY_HEAD)
        rows = [[*row, Text(cell, style="dim")] for row, cell in zip(rows, study, strict=True)]
    columns = (Column("case", "left"), *map(Column, heads))
    return FittingTable(columns, rows, optional=(STUDY_HEAD,))


def _case_label(case: CaseRecord) -> Text:
    """Return the id, marked where the case failed, was skipped or was shortened."""
    text = Text(printable(case.id), style=OUTCOME_STYLES[case.outcome])
    marks: list[str] = [case.outcome] if case.outcome != "passed" else []
    marks += ["shortened"] * case.shortened
    return text.append(f" ({', '.join(marks)})") if marks else text


def _median(case: CaseRecord, name: str) -> str:
    text = show(name, case.median(name))
    values = case.values(name)
    has_spread = name == "train_seconds" and len(values) > 1
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
    """Yield one line for each kind of warning, the most frequent first, with its first case."""
    counts: Counter[str] = Counter()
    first: dict[str, str] = {}
    for case in record.cases:
        for repeat in case.repeats:
            for flag in repeat.warnings:
                counts[flag.kind] += 1
                first.setdefault(flag.kind, f"{case.id} (seed {repeat.seed}): {flag.message}")
    for kind, count in counts.most_common(MAX_WARNINGS):
        more = f" [and {count - 1} more]" if count > 1 else ""
        yield Text(printable(f"warning: {first[kind]}{more}"), style="yellow")
    if (hidden := len(counts) - MAX_WARNINGS) > 0:
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
        width=width, force_terminal=color, no_color=not color, highlight=False, color_system="auto"
    )
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


class Look(TypedDict):
    """The keywords of `render` that depend on the terminal."""

    width: int
    color: bool


def look_of(reporter: pytest.TerminalReporter) -> Look:
    """Return the width and colours of pytest's terminal; a log is at least 120 wide."""
    width = reporter._tw.fullwidth
    return Look(
        width=width if reporter.isatty else max(width, 120), color=bool(reporter._tw.hasmarkup)
    )
