"""The summary in words: what ran, where, when, for how long, and with what result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from cnnperf.compare.verdicts import Comparison
from cnnperf.machine.flags import DISTURBANCES
from cnnperf.machine.names import describe_device, describe_software
from cnnperf.record.metrics import format_seconds
from cnnperf.record.schema import Record
from cnnperf.report.html.content import capitalised, counted
from cnnperf.report.html.sections.runs import Run, all_repeats

MAX_NAMED = 5
"""Failed or skipped cases that the summary names; the table of results has all."""


def lead(runs: Sequence[Run], comparison: Comparison | None) -> list[str]:
    """Return the first paragraphs of the page, the verdict first."""
    paragraphs = [f"{capitalised(comparison.summary)}."] if comparison is not None else []
    for run in runs:
        named = f"{run.label} is {run.name}: " if len(runs) > 1 else ""
        paragraphs.append(capitalised(f"{named}{what_ran(run.record)}"))
        paragraphs += _problems(run, f" in {run.label}" if len(runs) > 1 else "")
    return [*paragraphs, *_disturbed(runs)]


def what_ran(record: Record) -> str:
    """Describe tier, cases, trainings, machine, software and start."""
    outcomes = Counter(case.outcome for case in record.cases)
    counts = ", ".join(f"{outcomes[name]} {name}" for name in ("passed", "failed", "skipped")
                       if outcomes[name])  # fmt: skip
    cases = f"{counted(len(record.cases), 'case')} ({counts})" if counts else "no case"
    trainings = sum(len(case.repeats) for case in record.cases)
    seconds = sum(repeat.timed_seconds for case in record.cases for repeat in case.repeats)
    version = record.environment.software.cnnperf
    took = f", {format_seconds(seconds)} of timed work" if trainings else ""
    return (
        f"tier {record.tier}: {cases}, {counted(trainings, 'training')}{took}. Machine: "
        f"{describe_device(record.environment)}. Software: "
        f"{describe_software(record.environment)}, cnnperf {version or '?'}. Started "
        f"{record.created:%Y-%m-%d %H:%M %z}."
    )


def _problems(run: Run, where: str) -> Iterator[str]:
    """Name failed, skipped, interrupted and shortened work."""
    for outcome in ("failed", "skipped"):
        found = [case for case in run.record.cases if case.outcome == outcome]
        for case in found[:MAX_NAMED]:
            error = case.error
            seed = f" (seed {error.seed})" if error and error.seed is not None else ""
            why = error.message if error else "no reason is recorded"
            yield f"{capitalised(outcome)}{where}: {case.id}{seed}: {why}"
        if len(found) > MAX_NAMED:
            more = len(found) - MAX_NAMED
            yield f"{capitalised(outcome)}{where}: {more} more, listed under Results."
    if run.record.interrupted:
        yield f"Interrupted{where}: some planned trainings are missing."
    if shortened := sum(case.shortened for case in run.record.cases):
        yield f"Shortened{where}: {counted(shortened, 'case')}. Ignore their accuracy."


def _disturbed(runs: Sequence[Run]) -> Iterator[str]:
    """Count trainings that something else may have slowed down, and name the causes."""
    found = [
        {flag.kind for flag in repeat.warnings} & DISTURBANCES for _, _, repeat in all_repeats(runs)
    ]
    if disturbed := sum(map(bool, found)):
        kinds = Counter(kind for each in found for kind in each)
        named = ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items()))
        yield (
            f"{disturbed} of {counted(len(found), 'training')} may have been disturbed by "
            f"something else on the machine ({named}): do not trust their times before you have "
            "read the warnings under Every training."
        )
