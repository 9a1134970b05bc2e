"""Show on a terminal how noisy a machine is, as a calibration measured it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from cnnperf.compare.calibration import REPEATS, Calibration, Noise
from cnnperf.compare.thresholds import JUDGED
from cnnperf.errors import printable
from cnnperf.machine.names import describe_machine
from cnnperf.record.metrics import show_value
from cnnperf.report.terminal.layout import Column, GroupedTable
from cnnperf.report.wording.comparison import label

LEGEND = (
    "spread: standard deviation of one training; smallest change: the smallest change for the "
    f"worse that {REPEATS} repeats per side find in four of five comparisons of that case alone"
)


def calibration_summary(calibration: Calibration, alarms: Sequence[str] = ()) -> RenderableType:
    """Return the noise of each metric, what the columns mean, and warnings.

    `alarms` are regressions found between two equal sides, each "CASE: METRIC VERDICT".
    """
    machine = printable(f"noise of {describe_machine(calibration.hardware)}")
    return Group(
        Text(machine, style="bold"),
        calibration_table(calibration),
        Text(LEGEND, style="dim"),
        *_warnings(calibration, alarms),
    )


def calibration_table(calibration: Calibration) -> GroupedTable:
    """Return a row for each metric below its case."""
    heads = ("n", "mean", "spread", "smallest change")
    groups = [
        (
            Text(printable(case_id) + " (shortened)" * case.shortened, style="bold"),
            [_cells(name, noise) for name, noise in case.metrics.items()],
        )
        for case_id, case in calibration.cases.items()
    ]
    return GroupedTable((Column("metric", "left"), *map(Column, heads)), groups)


def _cells(name: str, noise: Noise) -> tuple[str, ...]:
    figures = noise.sd, noise.smallest_change
    if name in JUDGED:
        unit = "%" if JUDGED[name].by_ratio else "points"
        spread, smallest = (f"{100 * value:.2f} {unit}" for value in figures)
    else:  # a quality of the user's
        spread, smallest = (f"{value:.3g}" for value in figures)
    mean = show_value(name, noise.mean)
    return printable(label(name)), str(noise.n), mean, spread, smallest


def _warnings(calibration: Calibration, alarms: Sequence[str]) -> Iterator[Text]:
    for case_id, case in calibration.cases.items():
        if case.flagged:
            text = (
                f"disturbed: {case_id}: something else disturbed the machine in {case.flagged} "
                "trainings, and their noise is included: calibrate again when it is idle"
            )
            yield Text(printable(text), style="yellow")
    for alarm in alarms:
        text = (
            f"FALSE ALARM: {alarm}, although both sides are the same. Likely something else "
            "ran for part of the time, or the figure has two modes: calibrate again, and do not "
            "gate on this metric until the alarm is gone"
        )
        yield Text(printable(text), style="bold red")
