"""The summary in words: what ran, where, when, how long, and what came of it. Torch-free."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from cnnperf.compare.verdicts import Comparison
from cnnperf.machine.flags import DISTURBANCES
from cnnperf.machine.names import describe_device, describe_software
from cnnperf.record.metrics import format_seconds
from cnnperf.record.schema import Record
from cnnperf.report.html.sections.runs import Run, all_repeats

MAX_NAMED = 5
"""Failed or skipped cases that the summary names; all are in the table of results."""


def lead(runs: Sequence[Run], comparison: Comparison | None) -> list[str]:
    """Paragraphs, the answer first where there is one."""
    paragraphs = [f"{_sentence(comparison.summary)}."] if comparison is not None else []
    for run in runs:
        named = f"{run.label} is {run.name}: " if len(runs) > 1 else ""
        paragraphs.append(_sentence(f"{named}{what_ran(run.record)}"))
        paragraphs += _problems(run, prefix=run.label if len(runs) > 1 else "")
    flagged = flagged_repeats(runs)
    return [*paragraphs, flagged] if flagged else paragraphs


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def what_ran(record: Record) -> str:
    """Tier, machine, software, time of day, trainings and what they took."""
    trainings = sum(len(case.repeats) for case in record.cases)
    seconds = sum(repeat.timed_seconds for case in record.cases for repeat in case.repeats)
    took = f", {format_seconds(seconds)} on the clock in all" if trainings else ""
    version = record.environment.software.cnnperf
    begun = record.created.strftime("%Y-%m-%d %H:%M %z")
    return (
        f"tier {record.tier} on {describe_device(record.environment)} with "
        f"{describe_software(record.environment)}, cnnperf {version or '?'}, begun {begun}; "
        f"{_outcomes(record)} in "
        f"{_count(trainings, 'training')}{took}."
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _outcomes(record: Record) -> str:
    counts = Counter(case.outcome for case in record.cases)
    parts = [f"{counts[name]} {name}" for name in ("passed", "failed", "skipped") if counts[name]]
    return f"{_count(len(record.cases), 'case')} ({', '.join(parts)})" if parts else "no case"


def _problems(run: Run, prefix: str) -> Iterator[str]:
    """Failures, skips, and what makes a record less than it looks."""
    of = f" in {prefix}" if prefix else ""
    for outcome in ("failed", "skipped"):
        found = [case for case in run.record.cases if case.outcome == outcome]
        for case in found[:MAX_NAMED]:
            seeded = case.error is not None and case.error.seed is not None
            seed = f" (seed {case.error.seed})" if case.error and seeded else ""
            why = case.error.message if case.error else "no reason is recorded"
            yield f"{_sentence(outcome)}{of}: {case.id}{seed}: {why}"
        if len(found) > MAX_NAMED:
            yield f"{_sentence(outcome)}{of}: {len(found) - MAX_NAMED} more, in the results below."
    if run.record.interrupted:
        yield f"Interrupted{of}: not every planned training was done."
    shortened = sum(case.shortened for case in run.record.cases)
    if shortened:
        yield f"Shortened{of}: {_count(shortened, 'case')}, whose accuracy says nothing."


def flagged_repeats(runs: Sequence[Run]) -> str | None:
    """How many trainings something else may have disturbed, and what it was."""
    found = [repeat for _, _, repeat in all_repeats(runs)]
    kinds = [{flag.kind for flag in repeat.warnings} & DISTURBANCES for repeat in found]
    disturbed = sum(map(bool, kinds))
    if not disturbed:
        return None
    counts = Counter(kind for each in kinds for kind in each)
    named = ", ".join(f"{kind} {count}" for kind, count in sorted(counts.items()))
    return (
        f"{disturbed} of {_count(len(found), 'training')} "
        f"{'is' if disturbed == 1 else 'are'} flagged ({named}): something else may have had a "
        "part in the time."
    )
