"""Repeats of a case that something else on the machine disturbed."""

from __future__ import annotations

from cnnperf.compare.rules import Rules
from cnnperf.compare.verdicts import Contamination
from cnnperf.machine.flags import DISTURBANCES
from cnnperf.record.schema import CaseRecord, Repeat


def _disturbances(repeat: Repeat) -> set[str]:
    return {flag.kind for flag in repeat.warnings} & DISTURBANCES


def contamination(base: CaseRecord, new: CaseRecord, rules: Rules) -> Contamination:
    """Count the disturbed repeats of each side, and name the disturbances."""
    seen = [[_disturbances(repeat) for repeat in case.repeats] for case in (base, new)]
    return Contamination(
        base=sum(map(bool, seen[0])),
        new=sum(map(bool, seen[1])),
        dropped=rules.drop_flagged,
        kinds=tuple(sorted({kind for side in seen for kinds in side for kind in kinds})),
    )


def kept(case: CaseRecord, rules: Rules) -> CaseRecord:
    """Return the case without disturbed repeats, if the rules drop them."""
    if not rules.drop_flagged:
        return case
    undisturbed = [repeat for repeat in case.repeats if not _disturbances(repeat)]
    return case.model_copy(update={"repeats": undisturbed})
