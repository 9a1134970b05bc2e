"""The command `cnnperf report`: records as one HTML page that needs no network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cnnperf.cli.options import (
    Across,
    All,
    CalibrationFile,
    Config,
    DropFlagged,
    JudgeShortened,
    Modules,
    MoreBase,
    MoreNew,
    check_page,
    import_user_modules,
    option,
)
from cnnperf.errors import NotInstalledError, UsageError, printable
from cnnperf.record.writing import check_output, write_file
from cnnperf.report.terminal.console import sentences, status

if TYPE_CHECKING:
    from cnnperf.report.html.content import Page

STDOUT = Path("-")

PACKAGES = {"altair": "altair", "vl_convert": "vl-convert-python", "jinja2": "jinja2"}
"""Packages that draw a page: the imported name, and the name on PyPI."""


class Forms(StrEnum):
    """File formats of a figure."""

    SVG = "svg"
    PNG = "png"


Runs = Annotated[
    list[Path],
    typer.Argument(
        metavar="RUN",
        help="One record; two records, BASE and NEW; or records of several machines.",
        show_default=False,
    ),
]
PageOutput = Annotated[
    Path, option("--output", "-o", metavar="FILE", text="Page to write; - for standard output.")
]
Title = Annotated[
    str | None,
    option("--title", metavar="TEXT", text="Heading of the page. Default: the file names."),
]
Force = Annotated[
    bool, option("--force", text="Overwrite FILE even if it is not a page of cnnperf.")
]
Over = Annotated[
    str | None,
    option(
        "--over",
        metavar="MACHINE",
        text="Compare machines with this one: part of its name, or its RUN. With three or more "
        "RUNs the default is the machine of the first.",
    ),
]
FiguresFolder = Annotated[
    Path | None, option("--figures", metavar="DIR", text="Also write each figure to a file in DIR.")
]
FiguresFormat = Annotated[
    list[Forms] | None,
    option(
        "--figures-format",
        metavar="FORMAT",
        text="Format of these files: svg or png. Repeatable. Default: both.",
    ),
]


def report(
    runs: Runs,
    output: PageOutput = Path("report.html"),
    title: Title = None,
    force: Force = False,
    over: Over = None,
    more_base: MoreBase = None,
    more_new: MoreNew = None,
    figures: FiguresFolder = None,
    figures_format: FiguresFormat = None,
    everything: All = False,
    across: Across = None,
    drop_flagged: DropFlagged = False,
    judge_shortened: JudgeShortened = False,
    config: Config = None,
    calibration: CalibrationFile = None,
    module: Modules = None,
) -> None:
    """Make one self-contained HTML page of a run, of two runs, or of several machines.

    Examples:
      cnnperf report run.json
      cnnperf report base.json new.json -o change.html
      cnnperf report h100.json a100.json --over A100

    The exit code is 0 whatever the verdict: use `cnnperf compare` as a gate.
    """
    judging: dict[str, Any] = {
        "across": frozenset(map(str, across or ())),
        "drop_flagged": drop_flagged,
        "judge_shortened": judge_shortened,
        "config": config,
        "calibration": calibration,
    }
    with sentences():
        import_user_modules(module)
        several = over is not None or len(runs) > 2
        _check_options(runs, judging, several, more_new)
        if figures_format and figures is None:
            raise UsageError("--figures-format needs a folder: add --figures DIR")
        if output != STDOUT:
            check_output(output, [*runs, *(more_base or ()), *(more_new or ())], force=force)
            if not force:
                _check_page(output)
        more = more_base or [], more_new or []
        page = _make_page(runs, *more, judging, over, several=several, everything=everything)
        if title is not None:
            page = replace(page, title=printable(title))
        _write_page(page, output)
        if figures is not None:
            _write_figures(page, figures, list(figures_format or Forms))


def _check_options(
    runs: Sequence[Path], judging: dict[str, Any], several: bool, more_new: Sequence[Path] | None
) -> None:
    """Refuse options that this number of runs would ignore silently."""
    given = [f"--{name.replace('_', '-')}" for name, value in judging.items() if value]
    if given and (several or len(runs) == 1):
        why = "a page of several machines judges none" if several else f"only {runs[0]} is given"
        raise UsageError(f"{given[0]} is for judging two runs, and {why}")
    if more_new and len(runs) < 2:
        raise UsageError(f"--new {more_new[0]} needs a second run, and only {runs[0]} is given")


def _check_page(output: Path) -> None:
    from cnnperf.report.html.content import MARK

    fix = "a page of cnnperf: choose another name with -o, or add --force"
    check_page(output, lambda head: MARK in head, fix)


def _make_page(
    runs: Sequence[Path],
    more_base: Sequence[Path],
    more_new: Sequence[Path],
    judging: dict[str, Any],
    over: str | None,
    *,
    several: bool,
    everything: bool,
) -> Page:
    with packages(), status("drawing the page ..."):
        if several:
            from cnnperf.record.loading import load_record
            from cnnperf.report.html.machines.page import hardware_page

            every = [*runs, *more_base, *more_new]
            named = [(str(run), load_record(run)) for run in every]
            return hardware_page(named, over, everything=everything)
        files = [[run] for run in runs]
        for side, more in zip(files, (more_base, more_new), strict=False):
            side.extend(more)
        return _run_page(files, judging, everything)


def _run_page(files: Sequence[Sequence[Path]], judging: dict[str, Any], everything: bool) -> Page:
    """Return the page of one run, or of two with their verdicts."""
    from cnnperf.compare.inputs import load_side
    from cnnperf.compare.rules import find_rules
    from cnnperf.report.html.run_page import run_page

    sides = [load_side(paths) for paths in files]
    rules = None
    if len(sides) == 2:
        rules = find_rules(Path.cwd(), sides, base=files[0][0], **judging)
    return run_page(sides, rules, everything=everything)


def _write_page(page: Page, output: Path) -> None:
    with packages(), status("drawing the page ..."):
        from cnnperf.report.html.page import render

        text = render(page)
    if output == STDOUT:
        typer.echo(text.encode(), nl=False)  # the page says that it is UTF-8
        return
    write_file(output, text)
    size = f"{len(text.encode()) / 1e6:.1f} MB"
    typer.echo(f"{printable(str(output))}: {_count(len(page.figures()), 'figure')}, {size}")


def _write_figures(page: Page, folder: Path, forms: Sequence[Forms]) -> None:
    with packages(), status(f"drawing {len(page.figures())} figures ..."):
        from cnnperf.report.html.page import write_figures

        written = write_figures(page, folder, forms)  # type: ignore[arg-type]
    typer.echo(
        f"{printable(str(folder))}: {_count(len(page.figures()), 'figure')} in "
        f"{_count(len(written), 'file')} ({', '.join(forms)})",
        err=True,
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


@contextmanager
def packages() -> Iterator[None]:
    """Name the package that a page needs and that is not installed."""
    try:
        yield
    except ImportError as error:
        package = PACKAGES.get((error.name or "").partition(".")[0])
        if package is None:
            raise
        raise NotInstalledError(
            f"a page needs {package}, which cannot be imported ({error}): pip install {package}"
        ) from error
