"""The lines above a run: what it runs on, which tier and why, how much work lies ahead."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cnnperf.catalog.specs import Tier
from cnnperf.errors import printable
from cnnperf.machine.names import describe_device, describe_software
from cnnperf.record.environment import Environment
from cnnperf.record.metrics import format_flops, format_seconds
from cnnperf.run.command_line import resuming_command
from cnnperf.run.plan import estimate_seconds
from cnnperf.run.session import RunSession
from cnnperf.run.settings import RunSettings


def header_lines(run: RunSession, tier_reason: str) -> list[str]:
    """The header of a run whose machine is known."""
    lines = [
        f"cnnperf: {run.probed.device}: {describe_device(run.probed.environment)}",
        f"cnnperf: {describe_software(run.probed.environment)}",
        f"cnnperf: tier {run.tier} ({tier_reason}); {describe_work(run)}",
    ]
    if run.plan.runnable:
        lines.append(f"cnnperf: matmul peak {describe_peaks(run.probed.environment)}")
    if run.settings.baseline is not None:
        lines.append(f"cnnperf: {describe_baseline(run.settings)}")
    if run.resumed is not None:
        lines.extend(f"cnnperf: {line}" for line in run.resumed.report())
    elif run.paths.older_journals:
        lines.append(describe_left_behind(run.paths.older_journals))
    return lines


def nothing_selected(tier: Tier, deselected: set[str]) -> str:
    """What to say where -k and -m have left no case of a tier."""
    other = "" if tier == "full" else "; another tier (--cnnperf-tier=full) may have what you mean"
    return (
        f"cnnperf: none of the {len(deselected)} cases of tier {tier} is left after -k and -m: "
        f"`cnnperf list` shows the ids of all{other}"
    )


def describe_baseline(settings: RunSettings) -> str:
    """Such as `held to reports/base.json, across software`."""
    across = f", across {' and '.join(settings.across)}" if settings.across else ""
    return printable(f"held to {settings.baseline}{across}")


def describe_left_behind(journals: Sequence[Path]) -> str:
    """What can be done with the journal of a run that was stopped or had failures."""
    more = f" (and {len(journals) - 1} more)" if len(journals) > 1 else ""
    return (
        f"cnnperf: an unfinished run left {journals[0]}{more}: --cnnperf-resume takes it up, "
        "`cnnperf recover` makes a record of it; or delete it"
    )


def journal_lines(run: RunSession, arguments: Sequence[str]) -> list[str]:
    """Where the journal of a run is that is not whole, and the command that goes on with it."""
    journal = run.paths.journal
    if not run.limit.reached:
        return [f"journal: {journal} (go on with --cnnperf-resume={journal})"]
    left, minutes = run.left, run.limit.minutes
    lines = [
        f"out of time: {left} of {run.plan.trainings} trainings are left after {minutes:g} minutes "
        "(--cnnperf-max-minutes); go on with",
        resuming_command(arguments, journal),
    ]
    if run.limit.lost:
        lines.insert(0, f"ended by the time limit, and lost: {', '.join(run.limit.lost)}")
    if not run.trained:
        lines.insert(
            0, "not one training was finished in this time: give --cnnperf-max-minutes more, or "
            "choose shorter cases with -k"
        )  # fmt: skip
    return lines


def describe_work(run: RunSession) -> str:
    """Such as `4 cases, 4 trainings, about 2 min`."""
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
        text += "; shortened: its accuracy gates nothing"
    if run.settings.deterministic:
        text += "; deterministic, so slower"
    return text


def format_estimate(seconds: float) -> str:
    """As coarse as the estimate is."""
    if seconds < 90:
        return f"{max(10, round(seconds, -1)):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else format_seconds(seconds)


def describe_peaks(environment: Environment) -> str:
    """Such as `185 GFLOP/s float32, 410 GFLOP/s bfloat16`."""
    peaks = environment.hardware.matmul_flops_per_second or {}
    return ", ".join(f"{format_flops(peak)}FLOP/s {name}" for name, peak in peaks.items())


def _s(count: int) -> str:
    return "" if count == 1 else "s"
