"""The command `cnnperf compare`: judge one record against another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cnnperf.cli.options import (
    Across,
    All,
    CalibrationFile,
    Config,
    DropFlagged,
    Expression,
    Force,
    FormatOption,
    JudgeShortened,
    Modules,
    MoreBase,
    MoreNew,
    Output,
    Strict,
    import_user_modules,
    option,
)
from cnnperf.record.writing import check_output
from cnnperf.report.formats.comparison import Format, present
from cnnperf.report.terminal.console import outliving_the_reader, sentences

if TYPE_CHECKING:
    from cnnperf.compare.rules import Rules
    from cnnperf.compare.verdicts import Comparison

Base = Annotated[
    Path,
    typer.Argument(
        metavar="BASE",
        help="Record to compare with, or folder with a record a device.",
        show_default=False,
    ),
]
New = Annotated[
    Path,
    typer.Argument(
        metavar="NEW",
        help="Record to judge, or folder with a record a device.",
        show_default=False,
    ),
]
Verbose = Annotated[bool, option("--verbose", "-v", text="Also show the thresholds in force.")]


def compare(
    base: Base,
    new: New,
    across: Across = None,
    strict: Strict = False,
    form: FormatOption = Format.TABLE,
    output: Output = None,
    force: Force = False,
    verbose: Verbose = False,
    expression: Expression = None,
    everything: All = False,
    more_base: MoreBase = None,
    more_new: MoreNew = None,
    drop_flagged: DropFlagged = False,
    judge_shortened: JudgeShortened = False,
    config: Config = None,
    calibration: CalibrationFile = None,
    module: Modules = None,
) -> None:
    """Check whether NEW is slower or less accurate than BASE.

    Examples:
      cnnperf compare base.json new.json
      cnnperf compare base.json new.json --across software --strict
      cnnperf compare base.json new.json -f markdown -o verdict.md
      cnnperf compare old-driver/ new-driver/ --across software

    Exit codes:
      0    no regression
      1    regression in speed, accuracy or F1, or a case is missing or fails
      2    bad usage, unreadable file, or the output cannot be written
      3    the records cannot be compared
      4    inconclusive (only with --strict)
      130  interrupted by Ctrl-C

    A reader that closes the pipe early does not change the exit code.
    """
    judging: dict[str, Any] = {
        "config": config,
        "calibration": calibration,
        "across": frozenset(map(str, across or ())),
        "drop_flagged": drop_flagged,
        "judge_shortened": judge_shortened,
        "strict": strict,
    }
    with sentences():
        import_user_modules(module)
        files = [base, *(more_base or ())], [new, *(more_new or ())]
        settings = [each for each in (config, calibration) if each is not None]
        check_output(output, [*files[0], *files[1], *settings], force=force)
        comparison, rules = _judge(files, expression, judging)
        with outliving_the_reader():
            present(
                comparison, form, output=output, rules=rules, verbose=verbose,
                everything=everything,
            )  # fmt: skip
    raise typer.Exit(comparison.exit_code)


def _judge(
    files: tuple[list[Path], list[Path]], expression: str | None, judging: dict[str, Any]
) -> tuple[Comparison, Rules]:
    """Return the comparison of both sides' selected cases, and its rules."""
    from cnnperf.compare.inputs import load_side, select
    from cnnperf.compare.judge import judge
    from cnnperf.compare.rules import find_rules

    whole = load_side(files[0], lean=True), load_side(files[1], lean=True)
    # All cases: thresholds may name one that -k leaves out.
    rules = find_rules(Path.cwd(), whole, base=files[0][0], **judging)
    comparison = judge(*select(whole, expression), rules)
    if any(path.is_dir() for side in files for path in side):
        note = "each device of a folder counts as one training, the mean of its own: n is devices"
        comparison = comparison.model_copy(update={"notes": (*comparison.notes, note)})
    return comparison, rules
