"""The lines above a run (machine, tier, amount of work), its command, and how to continue it."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from cnnperf.catalog.specs import Tier
from cnnperf.errors import printable
from cnnperf.machine.names import describe_device, describe_place, describe_software
from cnnperf.record.metrics import format_flops, format_seconds
from cnnperf.run.plan import estimate_seconds
from cnnperf.run.session import RunSession

PATH_OPTIONS = {
    "--benchmark-json": "FILE",
    "--cnnperf-baseline": "FILE",
    "--cnnperf-data-dir": "DIR",
    "--cnnperf-profile": "DIR",
    "--cnnperf-python": "PYTHON",
    "--junitxml": "FILE",
    "--junit-xml": "FILE",
    "--rootdir": "DIR",
}
"""Options with a path of this machine, and the word that replaces it in a record."""

UNRECORDED_OPTIONS = ("--cnnperf-resume", "--cnnperf-max-minutes")
"""Options that do not change what is measured; a record leaves them out."""


def header_lines(run: RunSession, tier_reason: str) -> list[str]:
    """Return the header of a run that has looked at its machine."""
    settings = run.settings
    place = describe_place(run.record.environment)
    lines = [
        f"cnnperf: {run.probed.device}: {describe_device(run.probed.environment)}"
        + (f" ({place})" if place else ""),
        f"cnnperf: {describe_software(run.probed.environment)}",
        f"cnnperf: tier {run.tier} ({tier_reason}); {describe_work(run)}",
    ]
    if run.plan.runnable:
        peaks = run.probed.environment.hardware.matmul_flops_per_second or {}
        texts = [f"{format_flops(peak)}FLOP/s {name}" for name, peak in peaks.items()]
        lines.append(f"cnnperf: matmul peak {', '.join(texts)}")
    if settings.baseline is not None:
        across = f", across {' and '.join(settings.across)}" if settings.across else ""
        lines.append(printable(f"cnnperf: baseline {settings.baseline}{across}"))
    if run.resumed is not None:
        lines.extend(f"cnnperf: {line}" for line in run.resumed.report())
    elif journals := run.paths.older_journals:
        more = f" (and {len(journals) - 1} more)" if len(journals) > 1 else ""
        lines.append(
            f"cnnperf: an unfinished run left {journals[0]}{more}: continue it with "
            "--cnnperf-resume, make a record of it with `cnnperf recover`, or delete it"
        )
    return lines


def nothing_selected(tier: Tier, deselected: set[str]) -> str:
    """Return the message for -k and -m that select no case of the tier."""
    other = "" if tier == "full" else "; another tier (--cnnperf-tier=full) may have the case"
    return (
        f"cnnperf: -k and -m select none of the {len(deselected)} cases of tier {tier}: "
        f"`cnnperf list` shows all ids{other}"
    )


def journal_lines(run: RunSession, arguments: Sequence[str]) -> list[str]:
    """Return the journal of an incomplete run and the command that continues it."""
    journal = run.paths.journal
    if not run.limit.reached:
        return [f"journal: {journal} (continue with --cnnperf-resume={journal})"]
    lines = []
    if not run.trained:
        lines.append(
            "no training finished in time: raise --cnnperf-max-minutes, or choose shorter cases "
            "with -k"
        )
    if run.limit.lost:
        lines.append(f"stopped by the time limit, and lost: {', '.join(run.limit.lost)}")
    return [
        *lines,
        f"out of time: {run.left} of {run.plan.trainings} trainings are left after "
        f"{run.limit.minutes:g} minutes (--cnnperf-max-minutes); continue with",
        resuming_command(arguments, journal),
    ]


def fallback_line(run: RunSession) -> str | None:
    """Return which cases fell back and what to do; None where none did."""
    cases = [case for case in run.cases.values() if case.error and case.error.kind == "fallback"]
    if not cases:
        return None
    return (
        f"fell back: {', '.join(case.id for case in cases)}: they were not trained as engine fast "
        "trains on this GPU. Remove the cause (the reason is above), ask for less with "
        "--cnnperf-compile=off or --cnnperf-precision=float32, or accept it with "
        "--cnnperf-allow-fallback"
    )


def describe_work(run: RunSession) -> str:
    """Return text such as `4 cases, 4 trainings, roughly 2 min`."""
    cases = len(run.plan.runnable)
    trainings = run.plan.trainings - run.taken_over.total()
    text = f"{cases} case{_s(cases)}, {trainings} training{_s(trainings)}"
    seconds = estimate_seconds(run.plan, run.probed, run.taken_over)
    if trainings and seconds is not None:
        text += f", roughly {format_estimate(seconds)}"
    skipped = len(run.plan.cases) - cases
    if skipped:
        text += f"; {skipped} case{_s(skipped)} cannot be trained here"
    if run.settings.shortened:
        text += "; shortened: accuracy is not judged"
    if run.settings.deterministic:
        text += "; deterministic, so slower"
    return text


def format_estimate(seconds: float) -> str:
    """Format an estimate with as few digits as it deserves."""
    if seconds < 90:
        return f"{max(10, round(seconds, -1)):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else format_seconds(seconds)


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def recorded_command(arguments: Sequence[str], folder: Path) -> str:
    """Return the command of a run for its record, without paths of this machine.

    >>> recorded_command(["benchmarks", "--cnnperf-data-dir", "/home/me/data"], Path("/"))
    'pytest benchmarks --cnnperf-data-dir=DIR'
    """
    parts = []
    for name, value in _options(arguments):
        if name in UNRECORDED_OPTIONS:
            continue
        if value is None:
            parts.append(os.path.relpath(name, folder) if Path(name).is_absolute() else name)
        else:
            parts.append(f"{name}={PATH_OPTIONS.get(name, value)}")
    return shlex.join(["pytest", *parts])


def resuming_command(arguments: Sequence[str], journal: Path) -> str:
    """Return the command that continues a stopped run, ready for the same shell."""
    parts = [
        name if value is None else f"{name}={value}"
        for name, value in _options(arguments)
        if name != "--cnnperf-resume"
    ]
    by_name = Path(sys.argv[0]).name in ("pytest", "py.test")
    program = ["pytest"] if by_name else [sys.executable, "-m", "pytest"]
    return shlex.join([*program, *parts, f"--cnnperf-resume={journal}"])


def resume_command(arguments: Sequence[str], folder: Path) -> str:
    """Return the `cnnperf` command that continues a stopped one, ready for the same shell.

    >>> resume_command(["calibrate", "--out", "aa", "--max-minutes=9"], Path("aa"))
    'cnnperf calibrate --max-minutes=9 --resume=aa'
    """
    kept, rest = [], iter(arguments)
    for argument in rest:
        name, equals, _ = argument.partition("=")
        if name not in ("--out", "--resume"):
            kept.append(argument)
        elif not equals:
            next(rest, None)
    return shlex.join(["cnnperf", *kept, f"--resume={folder}"])


def _options(arguments: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Yield known options with their values, and every other argument with None."""
    rest = iter(arguments)
    for argument in rest:
        name, equals, value = argument.partition("=")
        if name in PATH_OPTIONS or name in UNRECORDED_OPTIONS:
            yield name, value if equals else next(rest, "")
        else:
            yield argument, None
