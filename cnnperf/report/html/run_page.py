"""The page of one run, or of base and new.

page = run_page([load_side([Path("base.json")]), load_side([Path("new.json")])])
"""

from __future__ import annotations

from collections.abc import Sequence

from cnnperf.compare.inputs import Side
from cnnperf.compare.judge import judge
from cnnperf.compare.rules import Rules
from cnnperf.report.html.content import Page, Section
from cnnperf.report.html.sections.environments import environment_section
from cnnperf.report.html.sections.learning import learning_section
from cnnperf.report.html.sections.profiles import profile_section
from cnnperf.report.html.sections.results import repeats_section, results_section
from cnnperf.report.html.sections.runs import runs_of
from cnnperf.report.html.sections.study import study_sections
from cnnperf.report.html.sections.suites import suite_sections
from cnnperf.report.html.sections.summary import lead
from cnnperf.report.html.sections.verdicts import verdict_sections


def run_page(sides: Sequence[Side], rules: Rules | None = None) -> Page:
    """Show everything in one record, or base and new side by side with the verdict.

    Args:
        sides: one, or base and new.
        rules: for judging the two; None means the defaults.
    """
    runs = runs_of(sides)
    comparison = judge(sides[0], sides[1], rules) if len(sides) > 1 else None
    profile = profile_section(runs)
    sections: list[Section] = [
        *(verdict_sections(comparison) if comparison is not None else []),
        results_section(runs),
        *study_sections(runs),
        learning_section(runs),
        *([profile] if profile is not None else []),
        *suite_sections(runs),
        repeats_section(runs),
        environment_section(runs),
    ]
    title = " against ".join(run.name for run in reversed(runs))
    return Page(title=title, lead=lead(runs, comparison), sections=sections)
