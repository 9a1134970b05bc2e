"""The page of one run, or of base and new."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from cnnperf.compare.comparability import environment_changes
from cnnperf.compare.inputs import Side
from cnnperf.compare.judge import judge
from cnnperf.compare.rules import Rules
from cnnperf.compare.verdicts import Comparison
from cnnperf.machine.flags import DISTURBANCES
from cnnperf.machine.names import describe_device, describe_software
from cnnperf.record.metrics import ABSENT, format_seconds
from cnnperf.record.schema import Record
from cnnperf.report.html.content import Page, Section, Table, text_columns
from cnnperf.report.html.room import ALL, fitted
from cnnperf.report.html.sections.learning import learning_section
from cnnperf.report.html.sections.profiles import profile_sections
from cnnperf.report.html.sections.results import repeats_section, results_section, suite_sections
from cnnperf.report.html.sections.runs import (
    MAX_DRAWN,
    Run,
    all_repeats,
    case_ids,
    row_of,
    runs_of,
    with_cases,
)
from cnnperf.report.html.sections.study import study_sections
from cnnperf.report.html.sections.verdicts import verdict_sections
from cnnperf.report.terminal.run import flat_environment
from cnnperf.report.wording import capitalised, counted
from cnnperf.report.wording.comparison import importance


def run_page(
    sides: Sequence[Side], rules: Rules | None = None, *, everything: bool = False
) -> Page:
    """Show everything in one record, or base and new side by side with their verdict by `rules`.

    Of very many cases, the page has the details of the most important ones, unless `everything` is
    wanted, and as many rows and figures as there is room for.
    """
    runs = runs_of(sides)
    comparison = judge(sides[0], sides[1], rules) if len(sides) > 1 else None
    drawn, lead = runs, []
    if not everything and len(case_ids(runs)) > MAX_DRAWN:
        ids = _most_important_first(runs, comparison)
        runs, drawn = with_cases(runs, ids), with_cases(runs, ids[:MAX_DRAWN])
        lead = [
            f"Figures, trainings and epochs are those of {MAX_DRAWN} cases; {ALL} shows those of "
            f"{len(ids) - MAX_DRAWN:,} more."
        ]
    sections = [
        *(verdict_sections(comparison, everything=everything) if comparison is not None else []),
        results_section(runs),
        *study_sections(drawn),
        learning_section(drawn),
        *profile_sections(drawn),
        *suite_sections(runs),
        repeats_section(drawn),
        _environment_section(runs),
    ]
    title = " against ".join(run.name for run in reversed(runs))
    page = Page(title=title, lead=[*_lead(runs, comparison), *lead], sections=sections)
    return page if everything else fitted(page)


def _most_important_first(runs: Sequence[Run], comparison: Comparison | None) -> list[str]:
    """Return the ids of all cases: by their verdicts, or those that failed first."""
    if comparison is not None:
        judged = [case.id for case in sorted(comparison.cases, key=importance)]
        return list(dict.fromkeys([*judged, *case_ids(runs)]))
    return sorted(case_ids(runs), key=lambda each: runs[0].cases[each].outcome != "failed")


MAX_NAMED = 5
"""Failed or skipped cases that the summary names; the table of results has all."""


def _lead(runs: Sequence[Run], comparison: Comparison | None) -> list[str]:
    paragraphs = [f"{capitalised(comparison.summary)}."] if comparison is not None else []
    for run in runs:
        named = f"{run.label} is {run.name}: " if len(runs) > 1 else ""
        paragraphs.append(capitalised(f"{named}{_what_ran(run.record)}"))
        paragraphs += _problems(run, f" in {run.label}" if len(runs) > 1 else "")
    return [*paragraphs, *_disturbed(runs)]


def _what_ran(record: Record) -> str:
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


def _environment_section(runs: Sequence[Run]) -> Section:
    found = [flat_environment(run.record.environment) for run in runs]
    fields = dict.fromkeys(
        field for flat in found for field, value in flat.items() if value != ABSENT
    )
    labels = {run.label: run.label if len(runs) > 1 else "value" for run in runs}
    table = Table(
        id="table-environment",
        caption="Hardware, software and settings; fields that could not be read are left out",
        columns=text_columns(field="field", **labels),
        rows=[row_of(field, *(flat.get(field, ABSENT) for flat in found)) for field in fields],
        is_closed=True,
    )
    paragraphs = [text for run in runs if run.files[1:] for text in _pooled(run)]
    return Section(id="environment", title="Environment", paragraphs=paragraphs, tables=[table])


def _pooled(run: Run) -> Iterator[str]:
    yield f"{capitalised(run.label)} pools {', '.join(run.files)}; the table shows the first."
    first, *others = run.environments
    if changes := environment_changes([first], others, frozenset()):
        fields = ", ".join(change.field for change in changes)
        yield f"The files of {run.label} differ in: {fields}."
