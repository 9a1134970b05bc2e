"""The command `cnnperf history`: metrics over many records, and the steps in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cnnperf.errors import UsageError, one_of, printable
from cnnperf.report.terminal.console import print_rich, sentences, status

if TYPE_CHECKING:
    from cnnperf.compare.calibration import Calibration
    from cnnperf.compare.history.load import Loaded
    from cnnperf.compare.history.series import Series


HEAD_BYTES = 200
"""Of a file, in which a page says that it is one."""


class HistoryFormat(StrEnum):
    """How a history is written on the terminal."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


Folder = Annotated[
    Path, typer.Argument(metavar="FOLDER", help="Searched for records, folders in it too.")
]
PageFile = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="Write a page there, too: HTML."),
]
MetricNames = Annotated[
    list[str] | None,
    typer.Option(
        "--metric",
        metavar="NAME",
        help="Only this metric, as in train_seconds; may be given again (default: those that "
        "gate in `cnnperf compare`).",
    ),
]
CaseExpression = Annotated[
    str | None,
    typer.Option(
        "--case",
        "-k",
        metavar="EXPR",
        help="Only cases whose id fits, as pytest's -k: 'vgg and not 224'.",
    ),
]
MachineName = Annotated[
    str | None,
    typer.Option("--machine", metavar="TEXT", help="Only machines with this in their name."),
]
FormatOption = Annotated[
    HistoryFormat,
    typer.Option("--format", "-f", help="table; json (series, steps); csv (a line a point)."),
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="TOML file of thresholds: a step is a change of level beyond them (default: "
        "./cnnperf.toml, else the table tool.cnnperf of ./pyproject.toml).",
    ),
]
CalibrationFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--calibration",
        metavar="FILE",
        help="A machine's noise, by `cnnperf calibrate`: no step of its times and rates is "
        "smaller than `cnnperf compare` would have it; may be given again for other machines.",
    ),
]


def history(
    folder: Folder,
    output: PageFile = None,
    metric: MetricNames = None,
    case: CaseExpression = None,
    machine: MachineName = None,
    form: FormatOption = HistoryFormat.TABLE,
    config: Config = None,
    calibration: CalibrationFiles = None,
) -> None:
    """Show each metric over all records in FOLDER, with its steps and what changed at them.

    Files that are no records are passed over and named. Exit code: 0 whatever the steps are, for
    this is no gate; 2 bad usage, or no record in the folder.
    """
    with sentences():
        names = _metrics(metric or [])
        _check_output(output)
        from cnnperf.compare.history.load import load_folder
        from cnnperf.compare.history.series import find_series
        from cnnperf.compare.thresholds import find_thresholds

        thresholds = find_thresholds(config, Path.cwd())
        with status("reading records ..."):
            loaded = load_folder(folder, names)
        for warning in loaded.warnings:
            typer.echo(f"cnnperf: {printable(warning)}", err=True)
        calibrations = _calibrations(calibration or [], loaded)
        loaded = _noting(loaded, calibrations)
        with status("looking for steps ..."):
            found = find_series(loaded.points, thresholds, calibrations)
            series = _chosen(found, case, machine)
        _present(loaded, series, form, output)


def _check_output(output: Path | None) -> None:
    """Refuse to overwrite what is no page, as a record would be, before anything slow is done."""
    if output is None or not output.exists():
        return
    if output.is_dir():
        raise UsageError(f"{output} is a folder: name a file with -o")
    try:
        with output.open("rb") as file:
            head = file.read(HEAD_BYTES).lstrip().lower()
    except OSError as error:
        raise UsageError(f"{output} cannot be read: {error.strerror or error}") from error
    if head and not head.startswith((b"<!doctype html", b"<html")):
        raise UsageError(f"{output} exists and is no page: choose another name with -o")


def _calibrations(paths: Sequence[Path], loaded: Loaded) -> list[Calibration]:
    """Each must be of a machine that is there: it would be passed over without a word."""
    from cnnperf.compare.calibration import identity, load_calibration

    there = {identity(point.environments[0].hardware) for point in loaded.points}
    found = [load_calibration(path) for path in paths]
    for path, each in zip(paths, found, strict=True):
        if identity(each.hardware) not in there:
            raise UsageError(
                f"{printable(str(path))} is of another machine than the records in "
                f"{printable(str(loaded.folder))} ({each.describe()}): leave it out"
            )
    return found


def _noting(loaded: Loaded, calibrations: Sequence[Calibration]) -> Loaded:
    """With a note on each, for the terminal and the page."""
    notes = (f"thresholds take in the noise of {each.describe()}" for each in calibrations)
    return replace(loaded, notes=(*loaded.notes, *notes))


def _metrics(names: list[str]) -> list[str]:
    """The metrics to show, in the order of the tables."""
    from cnnperf.compare.thresholds import DEFAULTS, JUDGED

    for name in names:
        if name not in JUDGED:
            raise UsageError(f"--metric: {one_of('metric', name, JUDGED)}")
    return [name for name in JUDGED if (name in names if names else DEFAULTS[name].gate)]


def _chosen(series: list[Series], case: str | None, machine: str | None) -> list[Series]:
    """Those of the cases and machines that were asked for."""
    if not series:
        raise UsageError("no record there has a figure of these metrics: choose others by --metric")
    from cnnperf.catalog.selection import matches

    ids = dict.fromkeys(each.case_id for each in series)
    chosen = {each for each in ids if case is None or matches(case, each)}
    if not chosen:
        raise UsageError(f"-k {case!r} selects none of the cases there: {_some(ids)}")
    machines = dict.fromkeys(each.machine_label for each in series)
    there = {name for name in machines if machine is None or machine.lower() in name.lower()}
    if not there:
        raise UsageError(
            f"--machine {machine!r} is in no name of a machine there: {_some(machines)}"
        )
    found = [each for each in series if each.case_id in chosen and each.machine_label in there]
    if not found:
        raise UsageError("no case that was chosen was trained on a machine that was chosen")
    return found


def _some(names: Sequence[str] | dict[str, None], most: int = 8) -> str:
    known = [printable(name) for name in names]
    more = f" and {len(known) - most} more" if len(known) > most else ""
    return ", ".join(known[:most]) + more


def _present(
    loaded: Loaded, series: list[Series], form: HistoryFormat, output: Path | None
) -> None:
    """The page first: what is on the terminal last is what is read."""
    if output is not None:
        from cnnperf.report.formats.comparison import write_text
        from cnnperf.report.html.history import history_page
        from cnnperf.report.html.page import render

        with status("drawing the page ..."):
            write_text(output, render(history_page(loaded, series)))
    if form is HistoryFormat.TABLE:
        from cnnperf.report.terminal.history import history_summary

        print_rich(history_summary(loaded, series))
    else:
        from cnnperf.report.formats.history import to_csv, to_json

        text = to_csv(series) if form is HistoryFormat.CSV else to_json(loaded, series)
        typer.echo(text, nl=False)
    if output is not None:
        typer.echo(f"{output}: the page", err=form is not HistoryFormat.TABLE)
