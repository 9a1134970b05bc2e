"""Judging: from two sides to a verdict on each metric of each case."""

from __future__ import annotations

from collections.abc import Sequence

from cnnperf.compare.case_status import judge_status
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
        base: the reference.
        new: the side to judge.
        rules: thresholds, confidence, and what may differ (default: `Rules()`).
    """
    rules = rules or Rules()
    changes = _changes(base, new, rules)
    # A case that base skipped is not expected of new; if new has it, it is a new case.
    expected = [case for case in base.cases.values() if case.outcome != "skipped"]
    status = {case.id: _status(case, new.cases.get(case.id), changes, rules) for case in expected}
    pairs = [(case, new.cases[case.id]) for case in expected if status[case.id] is None]
    metrics = judge_metrics(pairs, rules)
    judged = {first.id: _case(first, second, metrics[first.id], rules) for first, second in pairs}
    cases = [status[case.id] or judged[case.id] for case in expected]
    return conclude(base, new, cases, changes, rules)


def _status(
    base: CaseRecord,
    new: CaseRecord | None,
    changes: Sequence[EnvironmentChange],
    rules: Rules,
) -> CaseVerdicts | None:
    """Return the verdict on a whole case, also where dropping repeats leaves none."""
    verdict = judge_status(base, new, changes, rules)
    if verdict is not None or new is None:
        return verdict
    for case, name in ((base, rules.words.base), (new, rules.words.new)):
        if case.repeats and not kept(case, rules).repeats:
            return CaseVerdicts(
                id=base.id,
                verdict="not comparable",
                reason=f"every repeat of {name} was disturbed and left out",
                contamination=contamination(base, new, rules),
            )
    return None


def _changes(base: Side, new: Side, rules: Rules) -> list[EnvironmentChange]:
    """Return differences of machines and of training settings, each once."""
    machine = environment_changes(base.environments, new.environments, rules.across)
    trainings = settings_changes(base.cases.values(), new.cases, rules.across)
    fields = {change.field for change in trainings}
    return [change for change in machine if change.field not in fields] + trainings


def _case(base: CaseRecord, new: CaseRecord, metrics: MetricVerdicts, rules: Rules) -> CaseVerdicts:
    """Return the verdict on a case from its metrics."""
    gating = [metric.verdict for metric in metrics.values() if metric.gates]
    verdicts = gating or [metric.verdict for metric in metrics.values()]
    verdict: Verdict = min(verdicts, key=SEVERITY.index, default="not comparable")
    return CaseVerdicts(
        id=base.id,
        verdict=verdict,
        reason=None if verdicts else "no repeat is left that has a metric to judge",
        metrics=metrics,
        contamination=contamination(base, new, rules),
        drift=drifts(base, new),
        profile=profile_change(kept(base, rules), kept(new, rules)),
    )
