"""The command `cnnperf history`: metrics over many records, and the steps in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cnnperf.cli.options import MATCHING, Config, Force, check_page, option
from cnnperf.errors import UsageError, one_of, printable
from cnnperf.record.writing import check_output, write_file
from cnnperf.report.terminal.console import print_rich, sentences, status

if TYPE_CHECKING:
    from cnnperf.compare.calibration import Calibration
    from cnnperf.compare.history.load import Loaded
    from cnnperf.compare.history.series import Series


Folder = Annotated[
    Path,
    typer.Argument(
        metavar="FOLDER",
        help="Folder with records, searched with all folders in it.",
        show_default=False,
    ),
]
PageOutput = Annotated[
    Path | None, option("--output", "-o", metavar="FILE", text="Also write an HTML page.")
]
MetricNames = Annotated[
    list[str] | None,
    option(
        "--metric",
        metavar="NAME",
        text="Only this metric, for example train_seconds. Default: the metrics that gate in "
        "`cnnperf compare`. Repeatable.",
    ),
]
MachineText = Annotated[
    str | None,
    option("--machine", metavar="TEXT", text="Only machines whose name contains TEXT."),
]
HistoryFormat = Annotated[
    Literal["table", "json", "csv"],
    option(
        "--format",
        "-f",
        metavar="FORMAT",
        text="table, json (series and steps) or csv (one line for each point).",
    ),
]
Calibrations = Annotated[
    list[Path] | None,
    option(
        "--calibration",
        metavar="FILE",
        text="Noise of a machine, measured by `cnnperf calibrate`: smaller changes are not steps. "
        "Repeatable, for other machines.",
    ),
]


def history(
    folder: Folder,
    output: PageOutput = None,
    force: Force = False,
    case: Annotated[str | None, option("--case", "-k", metavar="EXPR", text=MATCHING)] = None,
    metric: MetricNames = None,
    machine: MachineText = None,
    form: HistoryFormat = "table",
    config: Config = None,
    calibration: Calibrations = None,
) -> None:
    """Show each metric over all records in FOLDER, its steps, and what changed at them.

    Examples:
      cnnperf history reports/
      cnnperf history reports/ -k vgg16 --metric train_seconds -o history.html

    A step is a change of level that exceeds the thresholds. Files that are not records are skipped
    and listed.

    Exit codes:
      0    done, whatever the steps are: this command is no gate
      2    bad usage, or no record in the folder
    """
    with sentences():
        names = metric or []
        check_output(output, force=force)
        if output is not None and not force:
            check_page(output, _may_overwrite, "a page: choose another name with -o")
        from cnnperf.compare.history.load import load_folder
        from cnnperf.compare.history.series import find_series
        from cnnperf.compare.thresholds import DEFAULTS, JUDGED, find_thresholds

        thresholds = find_thresholds(config, Path.cwd())
        with status("reading records ..."):
            known = [name for name in JUDGED if (name in names if names else DEFAULTS[name].gate)]
            loaded = _chosen(load_folder(folder, known), names)
        for warning in loaded.warnings:
            typer.echo(f"cnnperf: {printable(warning)}", err=True)
        calibrations = _calibrations(calibration or [], loaded)
        notes = (f"thresholds include the noise of {each.describe()}" for each in calibrations)
        loaded = replace(loaded, notes=(*loaded.notes, *notes))
        with status("looking for steps ..."):
            found = find_series(loaded.points, thresholds, calibrations)
            series = _select(found, case, machine)
        _present(loaded, series, form, output)


def _may_overwrite(head: str) -> bool:
    head = head.lstrip().lower()
    return not head or head.startswith(("<!doctype html", "<html"))


def _calibrations(paths: Sequence[Path], loaded: Loaded) -> list[Calibration]:
    """Read the calibrations; one of a machine without records would be ignored silently."""
    from cnnperf.compare.calibration import load_calibration
    from cnnperf.machine.names import identity

    there = {identity(point.environments[0].hardware) for point in loaded.points}
    found = [load_calibration(path) for path in paths]
    for path, each in zip(paths, found, strict=True):
        if identity(each.hardware) not in there:
            raise UsageError(
                f"{printable(str(path))} is of another machine than the records in "
                f"{printable(str(loaded.folder))} ({each.describe()}): leave it out"
            )
    return found


def _chosen(loaded: Loaded, names: list[str]) -> Loaded:
    """Keep the points of the named metrics, else of those that gate by default.

    Raises:
        UsageError: no record there has a metric of that name.
    """
    from cnnperf.compare.thresholds import JUDGED, judged_as

    known = {*JUDGED, *(point.metric for point in loaded.points)}
    for name in names:
        if name not in known:
            raise UsageError(f"--metric: {one_of('metric', name, known)}")
    points = (
        point
        for point in loaded.points
        if (
            point.metric in names if names else judged_as(point.metric, point.quality).defaults.gate
        )
    )
    return replace(loaded, points=tuple(points))


def _select(series: list[Series], case: str | None, machine: str | None) -> list[Series]:
    from cnnperf.catalog.registry import matches

    if not series:
        raise UsageError("no record there has these metrics: choose others with --metric")
    ids = dict.fromkeys(each.case_id for each in series)
    chosen = {each for each in ids if case is None or matches(case, each)}
    if not chosen:
        raise UsageError(f"-k {case!r} matches none of the cases there: {_some(ids)}")
    machines = dict.fromkeys(each.machine_label for each in series)
    there = {name for name in machines if machine is None or machine.lower() in name.lower()}
    if not there:
        raise UsageError(f"--machine {machine!r} matches no machine there: {_some(machines)}")
    found = [each for each in series if each.case_id in chosen and each.machine_label in there]
    if not found:
        raise UsageError("none of the chosen cases was trained on a chosen machine")
    return found


def _some(names: Iterable[str], most: int = 8) -> str:
    known = [printable(name) for name in names]
    more = f" and {len(known) - most} more" if len(known) > most else ""
    return ", ".join(known[:most]) + more


def _present(loaded: Loaded, series: list[Series], form: str, output: Path | None) -> None:
    """Write the page, then print the series: the end of the output is read first."""
    if output is not None:
        from cnnperf.report.html.history import history_page
        from cnnperf.report.html.page import render

        with status("drawing the page ..."):
            write_file(output, render(history_page(loaded, series)))
    if form == "table":
        from cnnperf.report.terminal.history import history_summary

        print_rich(history_summary(loaded, series))
    else:
        from cnnperf.report.formats.history import to_csv, to_json

        text = to_csv(series) if form == "csv" else to_json(loaded, series)
        typer.echo(text, nl=False)
    if output is not None:
        typer.echo(f"{output}: the page", err=form != "table")
