"""What a calibration found, as a terminal shows it. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cnnperf.compare.calibration import REPEATS, Calibration, CaseNoise, Noise
from cnnperf.compare.thresholds import JUDGED
from cnnperf.errors import printable
from cnnperf.machine.names import describe_machine
from cnnperf.record.metrics import METRICS


def calibration_summary(calibration: Calibration, alarms: Sequence[str] = ()) -> RenderableType:
    """The table, what it means, and loudly what an A/A must not find."""
    legend = Text(
        "spread: standard deviation of one training; smallest change: for the worse, that "
        f"{REPEATS} repeats a side would find in four of five comparisons of that case alone",
        style="dim",
    )
    machine = Text(printable(f"noise of {describe_machine(calibration.hardware)}"), style="bold")
    return Group(machine, calibration_table(calibration), legend, *_warnings(calibration, alarms))


def calibration_table(calibration: Calibration) -> Table:
    """A row a metric below the name of its case."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("case", overflow="fold")
    for head in ("n", "mean", "spread", "smallest change"):
        table.add_column(head, justify="right", no_wrap=True)
    for case_id, case in calibration.cases.items():
        table.add_section()
        table.add_row(Text(printable(case_id) + _mark(case), style="bold"))
        for name, noise in case.metrics.items():
            if name in JUDGED:  # a newer cnnperf's file may have others
                table.add_row(*_cells(name, noise))
    return table


def _mark(case: CaseNoise) -> str:
    return " (shortened)" if case.shortened else ""


def _cells(name: str, noise: Noise) -> tuple[str, ...]:
    metric = METRICS[name]
    unit = "%" if JUDGED[name].by_ratio else "points"
    spread, smallest = (f"{100 * value:.2f} {unit}" for value in (noise.sd, noise.smallest_change))
    return f"  {metric.label}", str(noise.n), metric.show(noise.mean), spread, smallest


def _warnings(calibration: Calibration, alarms: Sequence[str]) -> Iterator[Text]:
    for case_id, case in calibration.cases.items():
        if case.flagged:
            yield Text(
                printable(
                    f"disturbed: {case_id}: in {case.flagged} trainings something else disturbed "
                    "the machine; their noise is counted in: calibrate again when it is idle"
                ),
                style="yellow",
            )
    for alarm in alarms:
        yield Text(
            printable(
                f"FALSE ALARM: {alarm}, although both sides are the same. Likely something else "
                "ran for a part of the time, or the figure has two modes: calibrate again, and "
                "do not gate on it until it is quiet"
            ),
            style="bold red",
        )
