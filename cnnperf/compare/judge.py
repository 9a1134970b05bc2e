"""From two sides to a verdict on each metric of each case.

Torch-free. `judge_metrics` has the rules; here cases are held to each other.
"""

from __future__ import annotations

from collections.abc import Sequence

from cnnperf.compare.case_status import judge_whole
from cnnperf.compare.comparability import environment_changes, settings_changes
from cnnperf.compare.conclusion import conclude
from cnnperf.compare.disturbances import contamination, kept
from cnnperf.compare.drift import drifts
from cnnperf.compare.inputs import Side
from cnnperf.compare.judge_metrics import MetricVerdicts, judge_metrics
from cnnperf.compare.profile_change import profile_change
from cnnperf.compare.rules import Rules
from cnnperf.compare.verdicts import (
    SEVERITY,
    CaseVerdicts,
    Comparison,
    EnvironmentChange,
    Verdict,
)
from cnnperf.record.schema import CaseRecord


def judge(base: Side, new: Side, rules: Rules | None = None) -> Comparison:
    """Compare two sides.

    Args:
        base: what is known.
        new: what is asked about.
        rules: thresholds, certainty, and what may differ; the defaults where None.
    """
    rules = rules or Rules()
    changes = _changes(base, new, rules)
    # Nothing was expected of a case that base skipped: where new has it, it is a new one.
    expected = [case for case in base.cases.values() if case.outcome != "skipped"]
    whole = {case.id: _whole(case, new.cases.get(case.id), changes, rules) for case in expected}
    pairs = [(case, new.cases[case.id]) for case in expected if whole[case.id] is None]
    metrics = judge_metrics(pairs, rules)
    judged = {first.id: _case(first, second, metrics[first.id], rules) for first, second in pairs}
    cases = [whole[case.id] or judged[case.id] for case in expected]
    return conclude(base, new, cases, changes, rules)


def _whole(
    base: CaseRecord,
    new: CaseRecord | None,
    changes: Sequence[EnvironmentChange],
    rules: Rules,
) -> CaseVerdicts | None:
    """The verdict on a case as a whole, also where dropping repeats leaves none."""
    verdict = judge_whole(base, new, changes, rules)
    if verdict is not None or new is None:
        return verdict
    for case, name in ((base, rules.words.base), (new, rules.words.new)):
        if case.repeats and not kept(case, rules).repeats:
            return CaseVerdicts(
                id=base.id,
                verdict="not comparable",
                reason=f"every repeat of {name} was disturbed and is left out",
                contamination=contamination(base, new, rules),
            )
    return None


def _changes(base: Side, new: Side, rules: Rules) -> list[EnvironmentChange]:
    """Of the machines and of the trainings' settings, each difference once."""
    machine = environment_changes(base.environments, new.environments, rules.across)
    trainings = settings_changes(base.cases.values(), new.cases, rules.across)
    fields = {change.field for change in trainings}
    return [change for change in machine if change.field not in fields] + trainings


def _case(base: CaseRecord, new: CaseRecord, metrics: MetricVerdicts, rules: Rules) -> CaseVerdicts:
    """A case by its metrics."""
    gating = [metric.verdict for metric in metrics.values() if metric.gates]
    verdicts = gating or [metric.verdict for metric in metrics.values()]
    verdict: Verdict = min(verdicts, key=SEVERITY.index, default="not comparable")
    return CaseVerdicts(
        id=base.id,
        verdict=verdict,
        reason=None if verdicts else "no repeat is left, or none has a metric to judge",
        metrics=metrics,
        contamination=contamination(base, new, rules),
        drift=drifts(base, new),
        profile=profile_change(kept(base, rules), kept(new, rules)),
    )
