"""Two sides that train in turns, for the commands that do so: settings, rules, records, words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer

from cnnperf.errors import UsageError, printable
from cnnperf.report.terminal.console import EXIT_INTERRUPTED

if TYPE_CHECKING:
    from cnnperf.compare.rules import Rules
    from cnnperf.run.interleave import Interleaved
    from cnnperf.run.settings import RunSettings

Say = Callable[[str], None]

OTHER_NAMES = {"--cnnperf-": "--", "--benchmark-json": "--out", "cnnperf_modules": "--module"}
"""What the options of `pytest benchmarks` are called here."""


def given_options(**given: str | bool | None) -> dict[str, str | bool | None]:
    """Return options by their names in `cnnperf.run.settings`; a switch is on or not given."""
    return {name: None if value is False else value for name, value in given.items()}


def settings_of_both(
    given: dict[str, str | bool | None],
    modules: list[str] | None,
    *,
    repeats: int,
    pythons: tuple[str | None, str | None],
) -> list[RunSettings]:
    """Of both sides."""
    from cnnperf.run.settings import settings_from

    return [
        settings_from({**given, "python": python}, modules or (), repeats=repeats)
        for python in pythons
    ]


def rules_here(
    config: Path | None,
    modules: list[str] | None,
    calibration: Path | None = None,
    *,
    strict: bool = False,
) -> Rules:
    """What counts; across software, since that is the question here.

    Raises:
        UsageError: a file cannot be read, the calibration's included: before anything slow.
    """
    from cnnperf.catalog.registry import all_cases, import_modules
    from cnnperf.compare.calibration import load_calibration
    from cnnperf.compare.rules import Rules, Words
    from cnnperf.compare.thresholds import find_thresholds

    import_modules(modules or (), [str(Path.cwd())])
    if calibration is not None:
        load_calibration(calibration)
    thresholds = find_thresholds(config, Path.cwd())
    thresholds.check_cases(case.id for case in all_cases())
    return Rules(
        thresholds=thresholds,
        across=frozenset({"software"}),
        judge_shortened=True,
        strict=strict,
        words=Words(base="A", new="B", across=None, training="--"),
    )


def with_calibration(rules: Rules, named: Path | None, pair: Interleaved) -> Rules:
    """With this machine's noise: of the file that was named, or where it has been measured.

    Raises:
        UsageError: the file cannot be read, or is of another machine.
    """
    from cnnperf.compare.calibration import load_calibration_of
    from cnnperf.run.calibrate import calibration_here

    hardware = pair.sides[0].probed.environment.hardware
    if named is not None:
        calibration = load_calibration_of(named, hardware, "this one")
        return replace(rules, calibration=calibration)
    return replace(rules, calibration=calibration_here(pair.paths[0], hardware))


def open_pair(
    command: str,
    sides: list[RunSettings],
    expression: str | None,
    out: Path | None,
    *,
    resume: bool = False,
) -> tuple[Interleaved, Say]:
    """Both sides, ready to train, and how to talk to people meanwhile: on stderr."""
    from rich.console import Console

    from cnnperf.catalog.selection import select_cases
    from cnnperf.run.interleave import default_folder, open_sides
    from cnnperf.run.plan import choose_tier
    from cnnperf.run.progress import choose_display

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
    from cnnperf.machine.names import describe_device, describe_software

    probed = pair.sides[0].probed
    yield f"cnnperf: {probed.device}: {describe_device(probed.environment)}"
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
def leaving_records(
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
def names_of_here() -> Iterator[None]:
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
