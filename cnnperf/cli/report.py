"""The command `cnnperf report`: records as one page that needs no network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cnnperf.cli.compare import (
    Across,
    CalibrationFile,
    Config,
    DropFlagged,
    JudgeShortened,
    Modules,
    calibration_for,
    thresholds_for,
)
from cnnperf.errors import NotInstalledError, UsageError, printable
from cnnperf.report.formats.comparison import write_text
from cnnperf.report.terminal.console import sentences, status

if TYPE_CHECKING:
    from cnnperf.compare.inputs import Side
    from cnnperf.compare.rules import Rules
    from cnnperf.report.html.content import Page
    from cnnperf.report.html.page import Form

STDOUT = Path("-")

PAIR = 2
"""Records that are compared; more of them are several machines."""

PACKAGES = {"altair": "altair", "vl_convert": "vl-convert-python", "jinja2": "jinja2"}
"""What a page is made with, by the name that is imported: its name on PyPI."""

HEAD_CHARS = 2000
"""Of a page, in which it says that it is ours."""


class Forms(StrEnum):
    """What a figure's file can be."""

    SVG = "svg"
    PNG = "png"


Runs = Annotated[
    list[Path],
    typer.Argument(
        metavar="RUN", help="A record; two, BASE and NEW; or those of several machines."
    ),
]
MoreBase = Annotated[
    list[Path] | None,
    typer.Option(
        "--base",
        metavar="FILE",
        help="Another record of the run, or of BASE: more cases, or more repeats of them.",
    ),
]
MoreNew = Annotated[
    list[Path] | None, typer.Option("--new", metavar="FILE", help="Another record of NEW.")
]
Over = Annotated[
    str | None,
    typer.Option(
        "--over",
        metavar="MACHINE",
        help="Machines side by side, and their gains over this one: a part of its name, or its "
        "RUN (with three RUNs or more, over the first's unless it is given).",
    ),
]
PageFile = Annotated[
    Path, typer.Option("--output", "-o", metavar="FILE", help="The page; - for standard output.")
]
Title = Annotated[
    str | None,
    typer.Option("--title", metavar="TEXT", help="The page's heading (default: the files)."),
]
Force = Annotated[
    bool, typer.Option("--force", help="Overwrite FILE although it is no page of cnnperf's.")
]
FiguresFolder = Annotated[
    Path | None,
    typer.Option("--figures", metavar="DIR", help="Write each figure as a file there, too."),
]
FiguresFormat = Annotated[
    list[Forms] | None,
    typer.Option(help="Of these files; may be given twice (default: both)."),
]


def report(
    runs: Runs,
    more_base: MoreBase = None,
    more_new: MoreNew = None,
    over: Over = None,
    output: PageFile = Path("report.html"),
    title: Title = None,
    force: Force = False,
    figures: FiguresFolder = None,
    figures_format: FiguresFormat = None,
    across: Across = None,
    drop_flagged: DropFlagged = False,
    judge_shortened: JudgeShortened = False,
    config: Config = None,
    calibration: CalibrationFile = None,
    module: Modules = None,
) -> None:
    """Make one self-contained page of a run, of two with what changed, or of several machines.

    It is for looking: the exit code is 0 whatever the verdict. `cnnperf compare` is the gate.
    """
    judging = {
        "--across": bool(across),
        "--drop-flagged": drop_flagged,
        "--judge-shortened": judge_shortened,
        "--config": config is not None,
        "--calibration": calibration is not None,
    }
    with sentences():
        _check_options(runs, over, [name for name, is_given in judging.items() if is_given])
        _check_output(output, force=force)
        if figures_format and figures is None:
            raise UsageError("--figures-format says how, --figures DIR where: give both")
        if over is not None or len(runs) > PAIR:
            page = _machines([*runs, *(more_base or ()), *(more_new or ())], over)
        else:
            sides = _sides(runs, more_base or [], more_new or [])
            asked = {
                "across": frozenset(difference.value for difference in across or ()),
                "drop_flagged": drop_flagged,
                "judge_shortened": judge_shortened,
            }
            page = _page(sides, _rules(runs, sides, config, calibration, module or [], asked))
        if title is not None:
            page = replace(page, title=printable(title))
        _write_page(page, output)
        if figures is not None:
            with _packages(), status(f"drawing {len(page.figures())} figures ..."):
                _write_figures(page, figures, [each.value for each in figures_format or Forms])


def _check_options(runs: Sequence[Path], over: str | None, judging: Sequence[str]) -> None:
    """Two runs are judged, and no other number: an option for that would be passed over."""
    machines = over is not None or len(runs) > PAIR
    if judging and machines:
        raise UsageError(f"{judging[0]} is for judging two runs, and machines are put side by side")
    if judging and len(runs) == 1:
        raise UsageError(f"{judging[0]} is for judging two runs, and only {runs[0]} is given")


def _check_output(output: Path, *, force: bool) -> None:
    """Refuse to overwrite what is no page of ours, before anything slow is done."""
    if output == STDOUT or force or not output.exists():
        return
    if output.is_dir():
        raise UsageError(f"{output} is a folder: name a file with -o")
    from cnnperf.report.html.content import MARK

    try:
        with output.open(encoding="utf-8", errors="replace") as file:
            head = file.read(HEAD_CHARS)
    except OSError as error:
        raise UsageError(f"{output} cannot be read: {error.strerror or error}") from error
    if MARK not in head:
        raise UsageError(
            f"{output} exists and is no page of cnnperf's: choose another name with -o, or say "
            "--force"
        )


def _rules(
    runs: Sequence[Path],
    sides: Sequence[Side],
    config: Path | None,
    calibration: Path | None,
    modules: list[str],
    asked: dict[str, Any],
) -> Rules | None:
    """What was asked for, thresholds and calibration as `cnnperf compare` finds them.

    None for a run alone.
    """
    if len(sides) != PAIR:
        return None
    from cnnperf.compare.rules import Rules

    return Rules(
        thresholds=thresholds_for(config, (sides[0], sides[1]), modules),
        calibration=calibration_for(calibration, runs[0], sides[0]),
        **asked,
    )


def _sides(runs: Sequence[Path], more_base: list[Path], more_new: list[Path]) -> list[Side]:
    if more_new and len(runs) < PAIR:
        raise UsageError(f"--new {more_new[0]} is for a second run, and only {runs[0]} is given")
    with _packages(), status("reading the records ..."):
        from cnnperf.compare.inputs import load_side

        return [
            load_side([run, *more]) for run, more in zip(runs, (more_base, more_new), strict=False)
        ]


def _page(sides: Sequence[Side], rules: Rules | None) -> Page:
    """Of one run, or of two."""
    with _packages(), status("drawing the page ..."):
        from cnnperf.report.html.run_page import run_page

        return run_page(sides, rules)


def _machines(runs: Sequence[Path], over: str | None) -> Page:
    with _packages(), status("drawing the page ..."):
        from cnnperf.record.loading import load_record
        from cnnperf.report.html.machines.page import hardware_page

        return hardware_page([(str(run), load_record(run)) for run in runs], over)


def _write_page(page: Page, output: Path) -> None:
    with _packages(), status("drawing the page ..."):
        from cnnperf.report.html.page import render

        text = render(page)
    if output == STDOUT:
        typer.echo(text, nl=False)
        return
    write_text(output, text)
    typer.echo(
        f"{printable(str(output))}: {_count(len(page.figures()), 'figure')}, "
        f"{len(text.encode()) / 1e6:.1f} MB"
    )


def _write_figures(page: Page, folder: Path, forms: Sequence[Form]) -> None:
    from cnnperf.report.html.page import write_figures

    written = write_figures(page, folder, forms)
    typer.echo(
        f"{printable(str(folder))}: {_count(len(page.figures()), 'figure')} in "
        f"{_count(len(written), 'file')} ({', '.join(forms)})",
        err=True,
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


@contextmanager
def _packages() -> Iterator[None]:
    """Say which package a page needs and is not there."""
    try:
        yield
    except ImportError as error:
        package = PACKAGES.get((error.name or "").partition(".")[0])
        if package is None:
            raise
        raise NotInstalledError(
            f"a page is made with {package}, which cannot be imported here ({error}): "
            f"pip install {package}"
        ) from error
