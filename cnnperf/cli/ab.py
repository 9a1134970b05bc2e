"""The command `cnnperf ab`: judge two interpreters against each other on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cnnperf.cli.options import (
    Config,
    Expression,
    Force,
    FormatOption,
    Modules,
    Out,
    Output,
    Strict,
    option,
    training_options,
)
from cnnperf.cli.turns import (
    RUN_OPTIONS,
    add_calibration,
    leaving_records,
    open_pair,
    rules_here,
    side_settings,
    translating_options,
)
from cnnperf.errors import UsageError
from cnnperf.record.writing import check_output
from cnnperf.report.formats.comparison import Format, present
from cnnperf.report.terminal.console import outliving_the_reader, sentences
from cnnperf.run.settings import settings_from

SideA = Annotated[
    str | None,
    option(
        "--a",
        metavar="SIDE",
        text="What to compare with: a Python, or a folder with another checkout of your code. "
        "Default: this Python, and the current folder.",
    ),
]
SideB = Annotated[str | None, option("--b", metavar="SIDE", text="What to judge, as --a.")]
MaxRepeats = Annotated[
    int,
    option(
        "--max-repeats",
        metavar="N",
        text="At most N trainings of a case on each side.",
        min=1,
        max=1000,
    ),
]
MaxMinutes = Annotated[
    float | None,
    option("--max-minutes", metavar="M", text="Start no training after M minutes.", min=0),
]
NoiseFile = Annotated[
    Path | None,
    option(
        "--calibration",
        metavar="FILE",
        text="Noise of this machine, measured by `cnnperf calibrate`. Default: the newest "
        "*.calibration.json of this machine in reports/, .cnnperf/, the current folder, the folder "
        "of the records, or one folder up.",
    ),
]


@training_options(*RUN_OPTIONS)
def ab(
    a: SideA = None,
    b: SideB = None,
    expression: Expression = None,
    max_repeats: MaxRepeats = 20,
    max_minutes: MaxMinutes = None,
    strict: Strict = False,
    form: FormatOption = Format.TABLE,
    output: Output = None,
    force: Force = False,
    out: Out = None,
    config: Config = None,
    calibration: NoiseFile = None,
    module: Modules = None,
    **given: Any,
) -> None:
    """Check whether training in B is slower or less accurate than in A, on this machine.

    Examples:
      cnnperf ab --b venv-new/bin/python
      cnnperf ab --b ../my-branch
      cnnperf ab --a old/bin/python --b new/bin/python -k mnist --max-minutes 30

    Both sides train in turns (A B B A) until every case is decided or the budget is spent.

    Exit codes:
      0    no regression
      1    regression
      2    bad usage
      3    the sides cannot be compared
      4    inconclusive (only with --strict)
      130  interrupted by Ctrl-C
    """
    from cnnperf.run.ab import Budget, run_ab

    with sentences(), translating_options():
        if a is None and b is None:
            raise UsageError("expected --b (or --a): both sides would be the same")
        check_output(output, force=force)
        sides = [
            side_settings(each, settings_from(given, module or (), repeats=max_repeats))
            for each in (a, b)
        ]
        rules = rules_here(config, module, calibration, strict=strict)
        pair, say = open_pair("ab", sides, expression, out)
        with leaving_records(pair, say, "cnnperf compare {} {} --across software judges it"):
            rules = add_calibration(rules, calibration, pair)
            budget = Budget(max_repeats=max_repeats, max_minutes=max_minutes)
            comparison = run_ab(pair, budget, rules, say)
        with outliving_the_reader():
            present(comparison, form, output=output, rules=rules)
    raise typer.Exit(comparison.exit_code)
