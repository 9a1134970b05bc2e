"""The commands that train in turns: `cnnperf ab` and `cnnperf calibrate`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cnnperf.cli_compare import Config, FormatOption, Output, Strict
from cnnperf.cli_options import (
    CalibrationHere,
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
    MaxMinutes,
    MaxRepeats,
    Modules,
    MoreRecords,
    Out,
    PrecisionOption,
    PythonA,
    PythonB,
    Seed,
    Tier,
    Timeout,
)
from cnnperf.cli_pair import (
    given_options,
    leaving_records,
    names_of_here,
    open_pair,
    rules_here,
    settings_of_both,
    with_calibration,
)
from cnnperf.compare.present import Format, present
from cnnperf.console import outliving_the_reader, print_rich, sentences
from cnnperf.errors import UsageError

if TYPE_CHECKING:
    from cnnperf.compare.rules import Rules
    from cnnperf.compare.verdicts import Comparison


def ab(
    a: PythonA = None,
    b: PythonB = None,
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
    max_repeats: MaxRepeats = 20,
    max_minutes: MaxMinutes = None,
    config: Config = None,
    calibration: CalibrationHere = None,
    strict: Strict = False,
    form: FormatOption = Format.TABLE,
    output: Output = None,
    out: Out = None,
) -> None:
    """Say whether training in Python B is slower or less accurate than in A, on this machine.

    Trains in turns, A B B A, until every case is decided or the budget is spent.

    Exit code: 0 no regression; 1 a regression; 2 bad usage; 3 not comparable; 4 inconclusive, with
    --strict; 130 stopped by Ctrl-C.
    """
    from cnnperf.ab import Budget, run_ab

    given = given_options(
        tier=tier, device=device, seed=seed, epochs=epochs, limit_steps=limit_steps,
        compile=compile_, precision=precision, deterministic=deterministic, data_dir=data_dir,
        timeout=timeout,
    )  # fmt: skip
    with sentences(), names_of_here():
        _check_pythons(a, b)
        sides = settings_of_both(given, module, repeats=max_repeats, pythons=(a, b))
        rules = rules_here(config, module, calibration, strict=strict)
        pair, say = open_pair("ab", sides, expression, out)
        with leaving_records(pair, say, "cnnperf compare {} {} --across software judges it"):
            rules = with_calibration(rules, calibration, pair)
            budget = Budget(max_repeats=max_repeats, max_minutes=max_minutes)
            comparison = run_ab(pair, budget, rules, say)
        with outliving_the_reader():
            present(comparison, form, output=output, rules=rules)
    raise typer.Exit(comparison.exit_code)


def _check_pythons(a: str | None, b: str | None) -> None:
    if a is None and b is None:
        raise UsageError("expected --b PYTHON (or --a): one Python would be held to itself")


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
    config: Config = None,
    output: CalibrationOutput = None,
    out: Out = None,
) -> None:
    """Measure each case's noise on this machine: one Python in turns with itself (A/A).

    `cnnperf compare` widens a threshold that this noise would cross by itself.
    """
    from cnnperf.calibrate import run_calibration

    given = given_options(
        tier=tier, device=device, seed=seed, epochs=epochs, limit_steps=limit_steps,
        compile=compile_, precision=precision, deterministic=deterministic, data_dir=data_dir,
        timeout=timeout,
    )  # fmt: skip
    with sentences(), names_of_here():
        rules = rules_here(config, module)
        if first or records:
            _calibrate_from(first, records, rules, output)
            return
        sides = settings_of_both(given, module, repeats=repeats, pythons=(None, None))
        sides[1] = replace(sides[1], seed=sides[0].seed + repeats)  # so that all seeds differ
        pair, say = open_pair("calibrate", sides, expression, out)
        with leaving_records(pair, say, "cnnperf calibrate --from {} {} takes it"):
            comparison = run_calibration(pair, rules, repeats)
        _write_calibration(pair.paths, rules, output, comparison)


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
    from cnnperf.calibrate import default_path, false_alarms, measure_noise, write_calibration
    from cnnperf.calibration_table import calibration_summary
    from cnnperf.compare.table import comparison_summary
    from cnnperf.loading import load_record

    calibration = measure_noise(
        [(str(path), load_record(path)) for path in paths], rules.thresholds
    )
    path = output or default_path(calibration.hardware)
    written = write_calibration(calibration, path)
    if aa is not None:
        print_rich(comparison_summary(aa))
    print_rich(calibration_summary(calibration, false_alarms(aa) if aa is not None else ()))
    typer.echo(written.describe(path))
