"""The command `cnnperf calibrate`: measure the noise of this machine."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from cnnperf.cli.options import Config, Expression, Modules, Out, option, training_options
from cnnperf.cli.turns import (
    RUN_OPTIONS,
    Say,
    leaving_records,
    open_pair,
    rules_here,
    translating_options,
)
from cnnperf.errors import UsageError
from cnnperf.report.terminal.console import print_rich, sentences
from cnnperf.run.settings import settings_from

if TYPE_CHECKING:
    from cnnperf.compare.rules import Rules
    from cnnperf.compare.verdicts import Comparison
    from cnnperf.run.interleave import Interleaved


Records = Annotated[
    list[Path] | None,
    typer.Argument(metavar="RECORD", help="More records for --from.", show_default=False),
]
Repeats = Annotated[
    int,
    option(
        "--repeats",
        metavar="N",
        text="Trainings of each case on each of the two sides.",
        min=2,
        max=1000,
    ),
]
Resume = Annotated[
    Path | None,
    option(
        "--resume",
        metavar="DIR",
        text="Continue a stopped calibration: DIR is the folder of its records (--out).",
    ),
]
FirstRecord = Annotated[
    list[Path] | None,
    option(
        "--from",
        metavar="RECORD",
        text="Train nothing: measure the noise in this record, and in those that follow.",
    ),
]
CalibrationOutput = Annotated[
    Path | None,
    option(
        "--output",
        "-o",
        metavar="FILE",
        text="Calibration to write. Default: named after the machine, in reports/ if it exists, "
        "else in .cnnperf/.",
    ),
]


@training_options(*RUN_OPTIONS, "max_minutes", "python")
def calibrate(
    records: Records = None,
    expression: Expression = None,
    repeats: Repeats = 10,
    resume: Resume = None,
    first: FirstRecord = None,
    output: CalibrationOutput = None,
    out: Out = None,
    config: Config = None,
    module: Modules = None,
    **given: Any,
) -> None:
    """Measure how noisy this machine is: train the same Python against itself (A/A).

    Examples:
      cnnperf calibrate -k mnist --repeats 10
      cnnperf calibrate --max-minutes 30
      cnnperf calibrate --from run1.json run2.json

    `cnnperf compare` then widens each threshold that this noise alone would cross.

    Exit codes:
      0    done
      2    bad usage
      75   out of time; run the printed command to continue
      130  interrupted by Ctrl-C
    """
    from cnnperf.compare.calibration import load_calibration
    from cnnperf.run.calibrate import run_calibration
    from cnnperf.run.header import resume_command

    with sentences(), translating_options():
        rules = rules_here(config, module)
        if output is not None and output.exists():
            load_calibration(output)  # nothing else is overwritten; found before the training
        if first:
            _write_calibration([*first, *(records or ())], rules, output, None)
            return
        if records:
            raise UsageError(
                f"records are only read with --from: did you mean --from "
                f"{' '.join(map(str, records))}?"
            )
        if resume is not None and out is not None:
            raise UsageError("expected --resume or --out, not both: --resume names the folder")
        side = settings_from(given, module or (), repeats=repeats)
        sides = [side, replace(side, seed=side.seed + repeats)]  # so that all seeds differ
        pair, say = open_pair(
            "calibrate", sides, expression, resume or out, resume=resume is not None
        )
        continuing = resume_command(sys.argv[1:], pair.paths[0].parent)
        escaped = continuing.replace("{", "{{").replace("}", "}}")
        hint = f"cnnperf calibrate --from {{}} {{}} uses them, {escaped} continues"
        with leaving_records(pair, say, hint, resumable=True):
            comparison = run_calibration(pair, rules, repeats)
        if comparison is None:
            _end_out_of_time(pair, say, continuing)
        _write_calibration(pair.paths, rules, output, comparison)


def _end_out_of_time(pair: Interleaved, say: Say, continuing: str) -> NoReturn:
    """Print how much is left and the command that continues, and exit."""
    from cnnperf.run.time_limit import EXIT_OUT_OF_TIME

    if pair.limit.lost:
        say(f"the time limit ended these trainings, which are lost: {', '.join(pair.limit.lost)}")
    if not any(side.trained for side in pair.sides):
        raise UsageError(
            "no training finished in time: raise --max-minutes, or choose shorter cases with -k"
        )
    left = sum(side.left for side in pair.sides)
    planned = sum(side.plan.trainings for side in pair.sides)
    say(
        f"out of time: {left} of {planned} trainings are left after {pair.limit.minutes:g} "
        "minutes (--max-minutes); continue with"
    )
    say(continuing)
    raise typer.Exit(EXIT_OUT_OF_TIME)


def _write_calibration(
    paths: Iterable[Path], rules: Rules, output: Path | None, aa: Comparison | None
) -> None:
    """Measure the noise in records, write it, and show it with the A/A comparison, if any."""
    from cnnperf.record.loading import load_record
    from cnnperf.report.terminal.calibration import calibration_summary
    from cnnperf.report.terminal.comparison import comparison_summary
    from cnnperf.run.calibrate import default_path, false_alarms, measure_noise, write_calibration

    calibration = measure_noise(
        [(str(path), load_record(path)) for path in paths], rules.thresholds
    )
    path = output or default_path(calibration.hardware)
    written = write_calibration(calibration, path)
    if aa is not None:
        print_rich(comparison_summary(aa))
    print_rich(calibration_summary(calibration, false_alarms(aa) if aa is not None else ()))
    typer.echo(written.describe(path))
