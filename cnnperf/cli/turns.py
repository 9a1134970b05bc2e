"""What `cnnperf ab` and `cnnperf calibrate` share: two sides of one machine that train in turns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cnnperf.cli.options import load_project
from cnnperf.errors import UsageError, printable
from cnnperf.report.terminal.console import EXIT_INTERRUPTED

if TYPE_CHECKING:
    from cnnperf.compare.rules import Rules
    from cnnperf.run.interleave import Interleaved
    from cnnperf.run.settings import RunSettings

Say = Callable[[str], None]

OTHER_NAMES = {"--cnnperf-": "--", "--benchmark-json": "--out", "cnnperf_modules": "--module"}
"""Names of pytest's options and keys, and what these commands call them."""


RUN_OPTIONS = (
    "tier", "device", "seed", "epochs", "limit_steps", "set", "compile", "precision",
    "allow_fallback", "deterministic", "anonymous", "data_dir", "timeout",
)  # fmt: skip
"""Options of a run that both commands have."""


def rules_here(
    config: Path | None,
    modules: list[str] | None,
    calibration: Path | None = None,
    *,
    strict: bool = False,
) -> Rules:
    """Return the rules, without a calibration: its machine is not known yet.

    Raises:
        UsageError: a file cannot be read; the calibration is read too, before slow work starts.
    """
    from cnnperf.compare.calibration import load_calibration
    from cnnperf.compare.rules import Words, find_rules

    load_project(modules)
    if calibration is not None:
        load_calibration(calibration)
    return find_rules(
        Path.cwd(),
        config=config,
        across=frozenset({"software"}),
        judge_shortened=True,
        strict=strict,
        words=Words(base="A", new="B", across=None, training="--"),
    )


def side_settings(side: str | None, settings: RunSettings) -> RunSettings:
    """Return the settings of a side: another interpreter, or another checkout of the user's code.

    The cases are those of the current folder; their functions and commands are the checkout's.

    Raises:
        UsageError: the folder is a virtual environment.
    """
    if side is None or not Path(side).expanduser().is_dir():
        return replace(settings, python=side)
    folder = Path(side).expanduser().absolute()
    if (folder / "pyvenv.cfg").exists():
        raise UsageError(f"{side} is a virtual environment: name its Python, {side}/bin/python")
    root = Path(settings.python_path[0])
    moved = (
        str(folder / Path(path).relative_to(root)) if Path(path).is_relative_to(root) else path
        for path in settings.python_path
    )
    return replace(settings, python_path=tuple(moved))


def add_calibration(rules: Rules, named: Path | None, pair: Interleaved) -> Rules:
    """Return the rules with this machine's noise: from the named file, else where it is found.

    Raises:
        UsageError: the file cannot be read, or belongs to another machine.
    """
    from cnnperf.compare.calibration import load_calibration_of
    from cnnperf.run.calibrate import calibration_here

    hardware = pair.sides[0].probed.environment.hardware
    if named is None:
        return replace(rules, calibration=calibration_here(pair.paths[0], hardware))
    return replace(rules, calibration=load_calibration_of(named, hardware, "this one"))


def open_pair(
    command: str,
    sides: list[RunSettings],
    expression: str | None,
    out: Path | None,
    *,
    resume: bool = False,
) -> tuple[Interleaved, Say]:
    """Return both sides, ready to train, and a function that prints a line to stderr."""
    from rich.console import Console

    from cnnperf.catalog.registry import change_cases, select_cases
    from cnnperf.run.interleave import default_folder, open_sides
    from cnnperf.run.plan import choose_tier
    from cnnperf.run.progress import choose_display

    console = Console(stderr=True)

    def say(text: str) -> None:
        console.print(printable(text), markup=False, highlight=False, soft_wrap=True)

    tier, reason = choose_tier(sides[0])
    change_cases(sides[0].set)
    ids = select_cases(expression, tier)
    folder = (out or default_folder(command)).expanduser()
    try:
        display = choose_display(console, quiet=False)
        pair = open_sides(sides, ids, tier, folder, display, resume=resume)
    except KeyboardInterrupt:
        say("interrupted before any training started")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    for line in _header(pair, f"{tier} ({_translate(reason)})"):
        say(f"cnnperf: {line}")
    return pair, say


def _header(pair: Interleaved, tier: str) -> Iterator[str]:
    """Yield the lines on the machine, both sides, and the most work that lies ahead."""
    from cnnperf.machine.names import describe_device, describe_software

    probed = pair.sides[0].probed
    yield f"{probed.device}: {describe_device(probed.environment)}"
    for side in pair.sides:
        python = side.settings.python or "this Python"
        if len({each.settings.python_path for each in pair.sides}) > 1:
            python += f", code of {side.settings.python_path[0]}"
        yield f"{side.side}: {python}: {describe_software(side.probed.environment)}"
        if side.resumed is not None:
            yield from (f"{side.side}: {line}" for line in side.resumed.report())
    most = sum(side.plan.trainings for side in pair.sides)
    cases = len(pair.case_ids)
    yield f"tier {tier}; {cases} case{'s' * (cases != 1)}, at most {most} trainings"
    for case in pair.sides[0].record.cases:
        if case.outcome == "skipped":
            message = case.error.message if case.error is not None else "cannot be trained here"
            yield f"skipped: {case.id}: {message}"


@contextmanager
def leaving_records(
    pair: Interleaved, say: Say, hint: str, *, resumable: bool = False
) -> Iterator[None]:
    """Write both records however the block ends; Ctrl-C ends the command with a hint.

    The hint has two {} for the records. An unfinished run keeps its journals if it is resumable.
    """
    from cnnperf.run.stopping import interrupt_on_signals

    restore = interrupt_on_signals(f"the journals in {pair.paths[0].parent} have every training")
    try:
        yield
    except BaseException as error:
        trained = any(pair.trainings)
        if trained:
            pair.close(keep_journals=resumable)
        else:
            pair.discard()
        if not isinstance(error, KeyboardInterrupt):
            raise
        (a, b), (a_path, b_path) = pair.trainings, pair.paths
        say(
            f"interrupted: {a_path} has {a} and {b_path} has {b} finished trainings; "
            f"{hint.format(a_path, b_path)}"
            if trained
            else "interrupted before a training finished: nothing was written"
        )
        raise typer.Exit(EXIT_INTERRUPTED) from None
    finally:
        restore()
    pair.close(keep_journals=pair.limit.reached)
    say(f"records: {' and '.join(map(str, pair.paths))}")


@contextmanager
def translating_options() -> Iterator[None]:
    """Replace pytest's option names in errors by the names of these commands."""
    try:
        yield
    except UsageError as error:
        raise UsageError(_translate(str(error))) from error


def _translate(text: str) -> str:
    for there, here in OTHER_NAMES.items():
        text = text.replace(there, here)
    return text
