"""`cnnperf ab`: two interpreters, or two settings of one, in turns on one machine."""

from __future__ import annotations

import typer

from cnnperf.cli.compare import Config, FormatOption, Output, Strict
from cnnperf.cli.options import (
    CalibrationHere,
    Compile,
    DataDir,
    Deterministic,
    Device,
    Epochs,
    Expression,
    LimitSteps,
    MaxMinutes,
    MaxRepeats,
    Modules,
    Out,
    PrecisionOption,
    PythonA,
    PythonB,
    Seed,
    Tier,
    Timeout,
)
from cnnperf.cli.turns import (
    given_options,
    leaving_records,
    names_of_here,
    open_pair,
    rules_here,
    settings_of_both,
    with_calibration,
)
from cnnperf.errors import UsageError
from cnnperf.report.formats.comparison import Format, present
from cnnperf.report.terminal.console import outliving_the_reader, sentences


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
    from cnnperf.run.ab import Budget, run_ab

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
