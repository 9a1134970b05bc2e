"""`cnnperf calibrate`: how much a machine wavers by itself."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer

from cnnperf.cli.compare import Config
from cnnperf.cli.options import (
    CalibrationMinutes,
    CalibrationOutput,
    CalibrationRepeats,
    Compile,
    DataDir,
    Deterministic,
    Device,
    Epochs,
    Expression,
    FirstRecords,
    LimitSteps,
    Modules,
    MoreRecords,
    Out,
    PrecisionOption,
    Python,
    ResumeFolder,
    Seed,
    Tier,
    Timeout,
)
from cnnperf.cli.turns import (
    Say,
    given_options,
    leaving_records,
    names_of_here,
    open_pair,
    rules_here,
    settings_of_both,
)
from cnnperf.errors import UsageError
from cnnperf.report.terminal.console import print_rich, sentences

if TYPE_CHECKING:
    from cnnperf.compare.rules import Rules
    from cnnperf.compare.verdicts import Comparison
    from cnnperf.run.interleave import Interleaved
    from cnnperf.run.settings import RunSettings


def calibrate(
    records: MoreRecords = None,
    first: FirstRecords = None,
    expression: Expression = None,
    tier: Tier = None,
    device: Device = None,
    seed: Seed = None,
    epochs: Epochs = None,
    limit_steps: LimitSteps = None,
    compile_: Compile = None,
    precision: PrecisionOption = None,
    deterministic: Deterministic = False,
    data_dir: DataDir = None,
    timeout: Timeout = None,
    module: Modules = None,
    repeats: CalibrationRepeats = 10,
    max_minutes: CalibrationMinutes = None,
    resume: ResumeFolder = None,
    python: Python = None,
    config: Config = None,
    output: CalibrationOutput = None,
    out: Out = None,
) -> None:
    """Measure each case's noise on this machine: one Python in turns with itself (A/A).

    `cnnperf compare` widens a threshold that this noise would cross by itself.

    Exit code: 0 done; 2 bad usage; 75 the time was up, call it again; 130 stopped by Ctrl-C.
    """
    from cnnperf.run.calibrate import run_calibration

    given = given_options(
        tier=tier, device=device, seed=seed, epochs=epochs, limit_steps=limit_steps,
        compile=compile_, precision=precision, deterministic=deterministic, data_dir=data_dir,
        timeout=timeout, max_minutes=max_minutes,
    )  # fmt: skip
    with sentences(), names_of_here():
        rules = rules_here(config, module)
        if first or records:
            _calibrate_from(first, records, rules, output)
            return
        sides = settings_of_both(given, module, repeats=repeats, pythons=(python, python))
        sides[1] = replace(sides[1], seed=sides[0].seed + repeats)  # so that all seeds differ
        pair, say = _open(sides, expression, out, resume)
        going_on = _goes_on(pair).replace("{", "{{").replace("}", "}}")
        hint = f"cnnperf calibrate --from {{}} {{}} takes it, {going_on} goes on"
        with leaving_records(pair, say, hint, resumable=True):
            comparison = run_calibration(pair, rules, repeats)
        if comparison is None:
            _out_of_time(pair, say)
        _write_calibration(pair.paths, rules, output, comparison)


def _open(
    sides: list[RunSettings], expression: str | None, out: Path | None, resume: Path | None
) -> tuple[Interleaved, Say]:
    if resume is not None and out is not None:
        raise UsageError("expected --resume or --out, not both: it goes on in its own folder")
    return open_pair("calibrate", sides, expression, resume or out, resume=resume is not None)


def _goes_on(pair: Interleaved) -> str:
    from cnnperf.run.command_line import going_on

    return going_on(sys.argv[1:], pair.paths[0].parent)


def _out_of_time(pair: Interleaved, say: Say) -> NoReturn:
    """What is left, and how to go on with it.

    Raises:
        UsageError: nothing was trained, and another call would get no further.
    """
    from cnnperf.run.time_limit import EXIT_OUT_OF_TIME

    if pair.limit.lost:
        say(f"ended by the time limit, and lost: {', '.join(pair.limit.lost)}")
    if not any(side.trained for side in pair.sides):
        raise UsageError(
            "not one training was finished in this time: give --max-minutes more, or choose "
            "shorter cases with -k"
        )
    left = sum(side.left for side in pair.sides)
    planned = sum(side.plan.trainings for side in pair.sides)
    say(
        f"out of time: {left} of {planned} trainings are left after {pair.limit.minutes:g} "
        "minutes (--max-minutes); go on with"
    )
    say(_goes_on(pair))
    raise typer.Exit(EXIT_OUT_OF_TIME)


# --- records that are there already -------------------------------------------------------------


def _calibrate_from(
    first: list[Path] | None, records: list[Path] | None, rules: Rules, output: Path | None
) -> None:
    if not first:
        raise UsageError(
            f"did you mean --from {' '.join(map(str, records or ()))}? Without --from, "
            "calibrating takes no records"
        )
    _write_calibration([*first, *(records or ())], rules, output, None)


def _write_calibration(
    paths: Iterable[Path], rules: Rules, output: Path | None, aa: Comparison | None
) -> None:
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
