"""Repeats of a case during which something else disturbed the machine: told, and dropped if asked.

Torch-free.
"""

from __future__ import annotations

from cnnperf.compare.rules import Rules
from cnnperf.compare.verdicts import Contamination
from cnnperf.machine.flags import DISTURBANCES
from cnnperf.record.schema import CaseRecord, Repeat


def _disturbances(repeat: Repeat) -> set[str]:
    return {flag.kind for flag in repeat.warnings} & DISTURBANCES


def contamination(base: CaseRecord, new: CaseRecord, rules: Rules) -> Contamination:
    """How many repeats of each side were disturbed, and by what."""
    seen = [[_disturbances(repeat) for repeat in case.repeats] for case in (base, new)]
    return Contamination(
        base=sum(map(bool, seen[0])),
        new=sum(map(bool, seen[1])),
        dropped=rules.drop_flagged,
        kinds=tuple(sorted({kind for side in seen for kinds in side for kind in kinds})),
    )


def kept(case: CaseRecord, rules: Rules) -> CaseRecord:
    """The case with the repeats that count."""
    if not rules.drop_flagged:
        return case
    undisturbed = [repeat for repeat in case.repeats if not _disturbances(repeat)]
    return case.model_copy(update={"repeats": undisturbed})
