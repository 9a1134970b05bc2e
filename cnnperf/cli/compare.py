"""The commands that judge and export records: `cnnperf compare` and `cnnperf export`."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cnnperf.report.formats.comparison import Format, present, write_text
from cnnperf.report.terminal.console import outliving_the_reader, sentences

if TYPE_CHECKING:
    from cnnperf.compare.calibration import Calibration
    from cnnperf.compare.inputs import Side
    from cnnperf.compare.thresholds import Thresholds


class Difference(StrEnum):
    """What may differ between two sides because it is the question."""

    HARDWARE = "hardware"
    SOFTWARE = "software"


class Target(StrEnum):
    """Formats of other dashboards."""

    SMALLER = "customSmallerIsBetter"
    BIGGER = "customBiggerIsBetter"
    BENCHER = "bencher"


Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="TOML file of thresholds (default: ./cnnperf.toml, else the table tool.cnnperf of "
        "./pyproject.toml).",
    ),
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="Write there, show only the summary."),
]
FormatOption = Annotated[
    Format,
    typer.Option(
        "--format",
        "-f",
        help="table, markdown (step summary, comment), github (annotations), junit or json.",
    ),
]
Strict = Annotated[
    bool, typer.Option("--strict", help="Exit with 4 where a regression cannot be ruled out.")
]
Modules = Annotated[
    list[str] | None,
    typer.Option(
        "--module",
        "-m",
        metavar="MODULE",
        help="Import this module first, whose cases the thresholds may name.",
    ),
]
Across = Annotated[
    list[Difference] | None,
    typer.Option(
        help="Compare although hardware or software (driver, CUDA, cuDNN, torch, Python) differ, "
        "since that is the question; may be given twice.",
    ),
]
DropFlagged = Annotated[
    bool, typer.Option("--drop-flagged", help="Leave out repeats that something else disturbed.")
]
JudgeShortened = Annotated[
    bool, typer.Option("--judge-shortened", help="Judge the speed of shortened trainings too.")
]
CalibrationFile = Annotated[
    Path | None,
    typer.Option(
        "--calibration",
        metavar="FILE",
        help="This machine's noise, by `cnnperf calibrate` (default: the newest "
        "*.calibration.json of BASE's machine, beside BASE or one folder up).",
    ),
]


def compare(
    base: Annotated[Path, typer.Argument(metavar="BASE", help="The record that is known.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The record that is asked about.")],
    more_base: Annotated[
        list[Path] | None,
        typer.Option("--base", metavar="FILE", help="Another record of base's: more repeats."),
    ] = None,
    more_new: Annotated[
        list[Path] | None,
        typer.Option("--new", metavar="FILE", help="Another record of new's: more repeats."),
    ] = None,
    across: Across = None,
    strict: Strict = False,
    drop_flagged: DropFlagged = False,
    judge_shortened: JudgeShortened = False,
    config: Config = None,
    calibration: CalibrationFile = None,
    form: FormatOption = Format.TABLE,
    output: Output = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show the thresholds in force, too.")
    ] = False,
    module: Modules = None,
) -> None:
    """Say whether NEW is slower or less accurate than BASE.

    Exit code: 0 no regression; 1 a regression in speed, accuracy or F1, or a case that is gone or
    newly fails; 2 bad usage, an unreadable file, or no room for the output; 3 not comparable; 4
    inconclusive, with --strict; 130 stopped by Ctrl-C. A reader that stops early changes none.
    """
    from cnnperf.compare.inputs import load_side
    from cnnperf.compare.judge import judge
    from cnnperf.compare.rules import Rules

    with sentences():
        sides = load_side([base, *(more_base or ())]), load_side([new, *(more_new or ())])
        rules = Rules(
            thresholds=thresholds_for(config, sides, module or []),
            calibration=calibration_for(calibration, base, sides[0]),
            across=frozenset(difference.value for difference in across or ()),
            drop_flagged=drop_flagged,
            judge_shortened=judge_shortened,
            strict=strict,
        )
        comparison = judge(*sides, rules)
        with outliving_the_reader():
            present(comparison, form, output=output, rules=rules, verbose=verbose)
    raise typer.Exit(comparison.exit_code)


def thresholds_for(config: Path | None, sides: tuple[Side, Side], modules: list[str]) -> Thresholds:
    """Those of a file, else of this folder's; a case that they name must exist."""
    from cnnperf.compare.thresholds import find_thresholds

    thresholds = find_thresholds(config, Path.cwd())
    if thresholds.cases:
        from cnnperf.catalog.registry import all_cases, import_modules

        import_modules(modules, [str(Path.cwd())], "--module")
        known = [case.id for case in all_cases()]
        thresholds.check_cases([*known, *sides[0].cases, *sides[1].cases])
    return thresholds


def calibration_for(path: Path | None, base: Path, side: Side) -> Calibration | None:
    """The one that was named, else the newest of base's machine; None where there is none."""
    from cnnperf.compare.calibration import calibration_of, load_calibration_of

    hardware = side.records[0].environment.hardware
    if path is None:
        return calibration_of(base, hardware)
    return load_calibration_of(path, hardware, str(base))


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A record.")],
    to: Annotated[
        Target,
        typer.Option(
            help="github-action-benchmark's two formats, or the Bencher Metric Format.",
        ),
    ],
    output: Output = None,
) -> None:
    """Write a record's figures in a format that other dashboards read."""
    from cnnperf.record.loading import load_record
    from cnnperf.report.formats.dashboards import export as exported

    with sentences():
        text = json.dumps(exported(load_record(run), to.value), indent=2)
        if output is None:
            typer.echo(text)
        else:
            write_text(output, text + "\n")
            typer.echo(f"{output}: {to.value}")
