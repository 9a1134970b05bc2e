"""The commands that train in turns: `cnnperf ab` and `cnnperf calibrate`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from cnnperf.cli_compare import Config, FormatOption, Output, Strict
from cnnperf.cli_options import (
    Compile,
    DataDir,
    Deterministic,
    Device,
    Epochs,
    Expression,
    LimitSteps,
    Modules,
    Out,
    PrecisionOption,
    Seed,
    Tier,
    Timeout,
    option,
)
from cnnperf.compare.present import Format, present
from cnnperf.console import EXIT_INTERRUPTED, outliving_the_reader, print_rich, sentences
from cnnperf.errors import UsageError, printable

if TYPE_CHECKING:
    from cnnperf.compare.rules import Rules
    from cnnperf.compare.verdicts import Comparison
    from cnnperf.interleave import Interleaved
    from cnnperf.settings import RunSettings

Say = Callable[[str], None]

OTHER_NAMES = {"--cnnperf-": "--", "--benchmark-json": "--out", "cnnperf_modules": "--module"}
"""What the options of `pytest benchmarks` are called here."""


def ab(
    a: Annotated[
        str | None, option("--a", metavar="PYTHON", text="What is known (default: this Python).")
    ] = None,
    b: Annotated[
        str | None, option("--b", metavar="PYTHON", text="What is asked about (default: this).")
    ] = None,
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
    max_repeats: Annotated[
        int, typer.Option(min=1, max=1000, metavar="N", help="Of each case, on each side.")
    ] = 20,
    max_minutes: Annotated[
        float | None,
        typer.Option(
            min=0, metavar="M", help="Start nothing more after so long (default: no end)."
        ),
    ] = None,
    config: Config = None,
    calibration: Annotated[
        Path | None,
        option(
            "--calibration",
            metavar="FILE",
            text="This machine's noise, by `cnnperf calibrate` (default: the newest "
            "*.calibration.json of this machine in reports/, .cnnperf/, here, or where the records "
            "go and one folder up).",
        ),
    ] = None,
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
    from cnnperf.compare.calibration import load_calibration

    given = _given(
        tier=tier, device=device, seed=seed, epochs=epochs, limit_steps=limit_steps,
        compile=compile_, precision=precision, deterministic=deterministic, data_dir=data_dir,
        timeout=timeout,
    )  # fmt: skip
    with sentences(), _names_of_here():
        if a is None and b is None:
            raise UsageError("expected --b PYTHON (or --a): one Python would be held to itself")
        sides = _settings(given, module, repeats=max_repeats, pythons=(a, b))
        rules = _rules(config, module, strict=strict)
        if calibration is not None:
            load_calibration(calibration)  # before anything slow
        pair, say = _open("ab", sides, expression, out)
        with _leaving_records(pair, say, "cnnperf compare {} {} --across software judges it"):
            budget = Budget(max_repeats=max_repeats, max_minutes=max_minutes)
            rules = _with_calibration(rules, calibration, pair)
            comparison = run_ab(pair, budget, rules, say)
        with outliving_the_reader():
            present(comparison, form, output=output, rules=rules)
    raise typer.Exit(comparison.exit_code)


def calibrate(
    records: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[RECORD]...", help="With --from: more records.", show_default=False
        ),
    ] = None,
    first: Annotated[
        list[Path] | None,
        option(
            "--from",
            metavar="RECORD",
            text="Train nothing: take the repeats of this record, and of those after it.",
        ),
    ] = None,
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
    repeats: Annotated[
        int, typer.Option(min=2, max=1000, metavar="N", help="Of each case, on each of two sides.")
    ] = 10,
    max_minutes: Annotated[
        str | None,
        option(
            "--max-minutes",
            metavar="M",
            text="Be over after so long, with exit code 75 and the command that goes on, where not "
            "all is done (default: no end).",
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        option(
            "--resume",
            metavar="DIR",
            text="Go on with what was stopped there: the folder that --out named, or the default.",
        ),
    ] = None,
    python: Annotated[
        str | None, option("--python", metavar="PYTHON", text="Which Python (default: this one).")
    ] = None,
    config: Config = None,
    output: Annotated[
        Path | None,
        option(
            "--output",
            "-o",
            metavar="FILE",
            text="The calibration (default: named after the machine, in reports/, else .cnnperf/).",
        ),
    ] = None,
    out: Out = None,
) -> None:
    """Measure each case's noise on this machine: one Python in turns with itself (A/A).

    `cnnperf compare` widens a threshold that this noise would cross by itself.

    Exit code: 0 done; 2 bad usage; 75 the time was up, call it again; 130 stopped by Ctrl-C.
    """
    from cnnperf.calibrate import run_calibration

    given = _given(
        tier=tier, device=device, seed=seed, epochs=epochs, limit_steps=limit_steps,
        compile=compile_, precision=precision, deterministic=deterministic, data_dir=data_dir,
        timeout=timeout, max_minutes=max_minutes,
    )  # fmt: skip
    with sentences(), _names_of_here():
        rules = _rules(config, module)
        if first or records:
            _calibrate_from(first, records, rules, output)
            return
        if resume is not None and out is not None:
            raise UsageError("expected --resume or --out, not both: it goes on in its own folder")
        sides = _settings(given, module, repeats=repeats, pythons=(python, python))
        sides[1] = replace(sides[1], seed=sides[0].seed + repeats)  # so that all seeds differ
        pair, say = _open("calibrate", sides, expression, resume or out, resume=resume is not None)
        going_on = _goes_on(pair).replace("{", "{{").replace("}", "}}")
        hint = f"cnnperf calibrate --from {{}} {{}} takes it, {going_on} goes on"
        with _leaving_records(pair, say, hint, resumable=True):
            comparison = run_calibration(pair, rules, repeats)
        if comparison is None:
            _out_of_time(pair, say)
        _write_calibration(pair.paths, rules, output, comparison)


def _goes_on(pair: Interleaved) -> str:
    from cnnperf.command_line import going_on

    return going_on(sys.argv[1:], pair.paths[0].parent)


def _out_of_time(pair: Interleaved, say: Say) -> NoReturn:
    """What is left, and how to go on with it.

    Raises:
        UsageError: nothing was trained, and another call would get no further.
    """
    from cnnperf.time_limit import EXIT_OUT_OF_TIME

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


# --- a run of two sides -------------------------------------------------------------------------


def _given(**given: str | bool | None) -> dict[str, str | bool | None]:
    """Options by the names that `cnnperf.settings` has for them; a switch is on or not given."""
    return {name: None if value is False else value for name, value in given.items()}


def _settings(
    given: dict[str, str | bool | None],
    modules: list[str] | None,
    *,
    repeats: int,
    pythons: tuple[str | None, str | None],
) -> list[RunSettings]:
    """Of both sides."""
    from cnnperf.settings import settings_from

    return [
        settings_from({**given, "python": python}, modules or (), repeats=repeats)
        for python in pythons
    ]


def _rules(config: Path | None, modules: list[str] | None, *, strict: bool = False) -> Rules:
    """What counts; across software, since that is the question here."""
    from cnnperf.compare.rules import Rules, Words
    from cnnperf.compare.thresholds import find_thresholds
    from cnnperf.registry import all_cases, import_modules

    import_modules(modules or (), [str(Path.cwd())])
    thresholds = find_thresholds(config, Path.cwd())
    thresholds.check_cases(case.id for case in all_cases())
    return Rules(
        thresholds=thresholds,
        across=frozenset({"software"}),
        judge_shortened=True,
        strict=strict,
        words=Words(base="A", new="B", across=None, training="--"),
    )


def _with_calibration(rules: Rules, named: Path | None, pair: Interleaved) -> Rules:
    """With this machine's noise: of the file that was named, or where it has been measured.

    Raises:
        UsageError: the file cannot be read, or is of another machine.
    """
    from cnnperf.calibrate import calibration_here
    from cnnperf.compare.calibration import load_calibration_of

    hardware = pair.sides[0].probed.environment.hardware
    if named is not None:
        calibration = load_calibration_of(named, hardware, "this one")
        return replace(rules, calibration=calibration)
    return replace(rules, calibration=calibration_here(pair.paths[0], hardware))


def _open(
    command: str,
    sides: list[RunSettings],
    expression: str | None,
    out: Path | None,
    *,
    resume: bool = False,
) -> tuple[Interleaved, Say]:
    """Both sides, ready to train, and how to talk to people meanwhile: on stderr."""
    from rich.console import Console

    from cnnperf.interleave import default_folder, open_sides
    from cnnperf.plan import choose_tier
    from cnnperf.progress import choose_display
    from cnnperf.selection import select_cases

    console = Console(stderr=True)

    def say(text: str) -> None:
        console.print(printable(text), markup=False, highlight=False, soft_wrap=True)

    tier, reason = choose_tier(sides[0])
    ids = select_cases(expression, tier)
    folder = (out or default_folder(command)).expanduser()
    try:
        display = choose_display(console, quiet=False)
        pair = open_sides(sides, ids, tier, folder, display, resume=resume)
    except KeyboardInterrupt:
        say("interrupted before anything was trained")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    for line in _header(pair, f"{tier} ({_as_here(reason)})"):
        say(line)
    return pair, say


def _header(pair: Interleaved, tier: str) -> Iterator[str]:
    """What is held to what, and how much work lies ahead at most."""
    from cnnperf.header import describe_device, describe_software

    yield f"cnnperf: {describe_device(pair.sides[0].probed)}"
    for side in pair.sides:
        python = side.settings.python or "this Python"
        yield f"cnnperf: {side.side}: {python}: {describe_software(side.probed.environment)}"
        if side.resumed is not None:
            yield from (f"cnnperf: {side.side}: {line}" for line in side.resumed.report())
    most = sum(side.plan.trainings for side in pair.sides)
    yield f"cnnperf: tier {tier}; {_count(len(pair.case_ids), 'case')}, at most {most} trainings"
    skipped = [each for each in pair.sides[0].record.cases if each.outcome == "skipped"]
    for case in skipped:
        message = case.error.message if case.error is not None else "cannot be trained here"
        yield f"cnnperf: skipped: {case.id}: {message}"


@contextmanager
def _leaving_records(
    pair: Interleaved, say: Say, hint: str, *, resumable: bool = False
) -> Iterator[None]:
    """Write both records whatever happens; Ctrl-C ends the command here, with a hint.

    Where it can be resumed, the journals of what is not whole stay.
    """
    try:
        yield
    except KeyboardInterrupt:
        _stop(pair, say, hint, resumable)
    except BaseException:
        _keep(pair, resumable)
        raise
    pair.close(keep_journals=pair.limit.reached)
    say(f"records: {' and '.join(map(str, pair.paths))}")


def _keep(pair: Interleaved, resumable: bool) -> bool:
    """Write what was trained; nothing where that is nothing."""
    if any(pair.trainings):
        pair.close(keep_journals=resumable)
        return True
    pair.discard()
    return False


def _stop(pair: Interleaved, say: Say, hint: str, resumable: bool) -> NoReturn:
    if _keep(pair, resumable):
        a, b = pair.trainings
        ready = hint.format(*pair.paths)
        say(
            f"interrupted: {' and '.join(map(str, pair.paths))} have the {a} and {b} trainings "
            f"that were finished; {ready}"
        )
    else:
        say("interrupted before a training was finished: nothing is left")
    raise typer.Exit(EXIT_INTERRUPTED)


# --- words --------------------------------------------------------------------------------------


@contextmanager
def _names_of_here() -> Iterator[None]:
    """Put the options' names of these commands into sentences that know those of pytest."""
    try:
        yield
    except UsageError as error:
        raise UsageError(_as_here(str(error))) from error


def _as_here(text: str) -> str:
    for there, here in OTHER_NAMES.items():
        text = text.replace(there, here)
    return text


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
