"""The tables that people read, made of a record alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from cnnperf.catalog.cases import ReportedResult, reported
from cnnperf.errors import printable
from cnnperf.record.metrics import ABSENT, METRICS, format_share, show
from cnnperf.record.schema import CaseRecord, Record
from cnnperf.report.terminal.harness import harness_tables
from cnnperf.report.terminal.inference import inference_tables
from cnnperf.report.terminal.peers import peer_tables
from cnnperf.report.terminal.profile import profile_tables

if TYPE_CHECKING:
    import pytest

COLUMNS = (
    "train_seconds",
    "images_per_second",
    "test_accuracy",
    "test_f1_macro",
    "peak_memory_bytes",
    "mfu",
)

OUTCOME_STYLES = {"passed": "", "failed": "bold red", "skipped": "yellow"}

MAX_WARNINGS = 6


def fits(table: Table, console: Console, options: ConsoleOptions) -> bool:
    """Whether a table can be shown without cutting or folding a cell."""
    needed = console.measure(table, options=options.update(max_width=1000)).maximum
    return needed <= options.max_width


@dataclass(frozen=True)
class Results:
    """The results in the widest form that fits: ids and figures are searched, copied, never cut.

    Where the report's column has no room, its figures stand in lines below the table; where the
    ids have none, they do too.
    """

    record: Record

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The table, and the lines for what it has no room for."""
        forms = (("ids", "report"), ("ids",), ())
        for columns in forms:
            table = results_table(self.record, columns)
            if fits(table, console, options):
                break
        yield table
        yield from _lines_below(self.record, columns)


def _lines_below(record: Record, columns: Sequence[str]) -> Iterator[Text]:
    """Ids and the report's figures, where the table has no column of them."""
    for number, case in enumerate(record.cases, start=1):
        row = None if "report" in columns else _reported(case)
        if "ids" in columns and row is None:
            continue
        label = case_label(case) if "ids" in columns else Text(f"{number:>2} ") + case_label(case)
        yield label if row is None else label + Text(f"; report: {_reported_cell(row)}", "dim")


def results_table(record: Record, columns: Sequence[str] = ("ids", "report")) -> Table:
    """A row a case: medians over its repeats, and the report's own figures where it has some."""
    with_report = "report" in columns and any(_reported(case) for case in record.cases)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("case" if "ids" in columns else "#", vertical="bottom", no_wrap=True)
    table.add_column("n", justify="right", vertical="bottom")
    for name in COLUMNS:
        head = METRICS[name].label.replace(" ", "\n")
        table.add_column(head, justify="right", vertical="bottom", no_wrap=True)
    if with_report:
        table.add_column("report: time,\naccuracy, F1", justify="right", style="dim", no_wrap=True)
    for number, case in enumerate(record.cases, start=1):
        label = case_label(case) if "ids" in columns else str(number)
        cells = [label, str(len(case.repeats)), *map(_median(case), COLUMNS)]
        if with_report:
            cells.append(_reported_cell(_reported(case)))
        table.add_row(*cells)
    return table


def case_label(case: CaseRecord) -> Text:
    """The id, marked where the case is not an ordinary success."""
    text = Text(printable(case.id), style=OUTCOME_STYLES[case.outcome])
    marks: list[str] = [case.outcome] if case.outcome != "passed" else []
    if case.shortened:
        marks.append("shortened")
    if marks:
        text.append(f" ({', '.join(marks)})")
    return text


def _median(case: CaseRecord) -> Callable[[str], str]:
    def cell(name: str) -> str:
        text = show(name, case.median(name))
        values = case.values(name)
        if name != "train_seconds" or len(values) < 2:
            return text
        return f"{text} ±{spread_percent(values):.1f}%"

    return cell


def spread_percent(values: list[float]) -> float:
    """Half the range of some values, as a percentage of its middle."""
    low, high = min(values), max(values)
    return 100 * (high - low) / (high + low) if high + low else 0.0


def _reported(case: CaseRecord) -> ReportedResult | None:
    return reported(case.model, case.dataset, case.recipe)


def _reported_cell(row: ReportedResult | None) -> str:
    if row is None:
        return ""
    time = ABSENT if row.train_seconds is None else f"{row.train_seconds:.0f} s"
    return f"{time}, {format_share(row.test_accuracy)}, {row.test_f1:.3f}"


def notes(record: Record) -> list[Text]:
    """What a reader of the table must know: failures, skips, warnings, what a column means."""
    lines = []
    for case in record.cases:
        if case.error is not None:
            seed = "" if case.error.seed is None else f" (seed {case.error.seed})"
            lines.append(
                Text(
                    printable(f"{case.outcome}: {case.id}{seed}: {case.error.message}"),
                    style=OUTCOME_STYLES[case.outcome],
                )
            )
    lines.extend(_warning_lines(record))
    if record.interrupted:
        lines.append(Text("interrupted: not every planned training was done", style="yellow"))
    return lines


def _warning_lines(record: Record) -> list[Text]:
    """Each kind of warning once, with the cases it concerns, the commonest first."""
    count: Counter[str] = Counter()
    first: dict[str, str] = {}
    for case in record.cases:
        for repeat in case.repeats:
            for flag in repeat.warnings:
                count[flag.kind] += 1
                first.setdefault(flag.kind, f"{case.id} (seed {repeat.seed}): {flag.message}")
    lines = []
    for kind, n in count.most_common(MAX_WARNINGS):
        more = f" [and {n - 1} more such]" if n > 1 else ""
        lines.append(Text(printable(f"warning: {first[kind]}{more}"), style="yellow"))
    if len(count) > MAX_WARNINGS:
        hidden = len(count) - MAX_WARNINGS
        lines.append(Text(f"warning: {hidden} more kinds of warning are in the record", "yellow"))
    return lines


def run_summary(record: Record) -> RenderableType:
    """The results table with everything that belongs below it."""
    legend = Text(
        "medians over n trainings; ± is half the range; MFU against the matmul peak of this run",
        style="dim",
    )
    suites = (*inference_tables(record), *harness_tables(record), *peer_tables(record))
    return Group(Results(record), legend, *suites, *profile_tables(record), *notes(record))


def environment_table(record_environment: object) -> Table:
    """What a machine is: a row a field; a dash where nothing could be read."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for section, fields in record_environment.model_dump().items():  # type: ignore[attr-defined]
        table.add_section()
        table.add_row(section, "", style="bold underline")
        for name, value in _flat(fields):
            table.add_row(Text(printable(name)), Text(printable(value)))
    return table


def flat_environment(record_environment: object) -> dict[str, str]:
    """Every field under its whole name, as in `hardware.gpu.name`, as a table shows it."""
    return dict(_flat(record_environment.model_dump()))  # type: ignore[attr-defined]


def _flat(fields: dict[str, object], prefix: str = "") -> list[tuple[str, str]]:
    rows = []
    for name, value in fields.items():
        if isinstance(value, dict):
            rows.extend(_flat(value, f"{prefix}{name}."))
        else:
            rows.append((prefix + name, _plain(name, value)))
    return rows


def _plain(name: str, value: object) -> str:
    if value is None or value == []:
        return ABSENT
    if name.endswith("_bytes") and isinstance(value, int):
        return show("peak_memory_bytes", value)
    if isinstance(value, float) and value >= 1e6:
        return show("flops_per_second", value)
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return str(value)


def render(renderable: RenderableType, *, width: int, color: bool) -> str:
    """Text for a terminal of that width, with or without colours."""
    console = Console(
        width=width, force_terminal=color, no_color=not color, highlight=False, color_system="auto"
    )
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


class Look(TypedDict):
    """How a terminal wants its text."""

    width: int
    color: bool


def look_of(reporter: pytest.TerminalReporter) -> Look:
    """What pytest knows of its terminal."""
    width = reporter._tw.fullwidth
    if not reporter.isatty:
        width = max(width, 120)  # a log has no right edge to wrap at
    return Look(width=width, color=bool(reporter._tw.hasmarkup))
