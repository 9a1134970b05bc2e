"""From two sides to a verdict on each metric of each case.

Torch-free. On a scale on which up is bad, worse is what certainly lies above the threshold, better
what certainly lies below its mirror image, same what certainly lies between them; everything else
cannot be told. docs/verdicts.md has the reasons, and how often each is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from cnnperf.compare.comparability import environment_changes, settings_changes
from cnnperf.compare.conclude import conclude
from cnnperf.compare.drift import drifts
from cnnperf.compare.profile_change import profile_change
from cnnperf.compare.rules import Rules
from cnnperf.compare.samples import Sample, take_sample
from cnnperf.compare.side import Side
from cnnperf.compare.stats import MAX_REPEATS, Interval, holm
from cnnperf.compare.thresholds import JUDGED
from cnnperf.compare.verdicts import (
    SEVERITY,
    CaseVerdicts,
    Comparison,
    Contamination,
    EnvironmentChange,
    MetricVerdict,
    Verdict,
)
from cnnperf.compare.whole import judge_whole
from cnnperf.environment.flags import DISTURBANCES
from cnnperf.metrics import METRICS
from cnnperf.record import CaseRecord, Repeat

Pair = tuple[CaseRecord, CaseRecord]
MetricVerdicts = dict[str, MetricVerdict]


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
    metrics = _judge_metrics(pairs, rules)
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
    for case, name in ((base, "base"), (new, "new")):
        if case.repeats and not _kept(case, rules).repeats:
            return CaseVerdicts(
                id=base.id,
                verdict="not comparable",
                reason=f"every repeat of {name} was disturbed and is left out",
                contamination=_contamination(base, new, rules),
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
        contamination=_contamination(base, new, rules),
        drift=drifts(base, new),
        profile=profile_change(_kept(base, rules), _kept(new, rules)),
    )


# --- repeats that were disturbed ----------------------------------------------------------------


def _disturbances(repeat: Repeat) -> set[str]:
    return {flag.kind for flag in repeat.warnings} & DISTURBANCES


def _contamination(base: CaseRecord, new: CaseRecord, rules: Rules) -> Contamination:
    seen = [[_disturbances(repeat) for repeat in case.repeats] for case in (base, new)]
    return Contamination(
        base=sum(map(bool, seen[0])),
        new=sum(map(bool, seen[1])),
        dropped=rules.drop_flagged,
        kinds=tuple(sorted({kind for side in seen for kinds in side for kind in kinds})),
    )


def _kept(case: CaseRecord, rules: Rules) -> CaseRecord:
    if not rules.drop_flagged:
        return case
    kept = [repeat for repeat in case.repeats if not _disturbances(repeat)]
    return case.model_copy(update={"repeats": kept})


# --- metrics ------------------------------------------------------------------------------------


def _judge_metrics(pairs: Sequence[Pair], rules: Rules) -> dict[str, MetricVerdicts]:
    """Verdicts by case and metric; a metric's false alarms are held for all cases together."""
    verdicts: dict[str, MetricVerdicts] = {base.id: {} for base, _ in pairs}
    for metric in JUDGED:
        family: list[Sample] = []
        for base, new in pairs:
            sample = _sample(base, new, metric, rules)
            if sample is None:
                continue
            if sample.below_floor and not base.shortened:
                verdicts[base.id][metric] = _broken(sample, rules)
            elif not sample.base:
                continue  # base says nothing of it, and the floor is kept
            elif _is_shortened(base, metric, rules) or not sample.has_ratio:
                verdicts[base.id][metric] = _unjudged(sample, base.shortened, rules)
            else:
                family.append(sample)
        for sample, verdict in zip(family, _judge_family(family, rules), strict=True):
            verdicts[sample.case_id][metric] = verdict
    return verdicts


def _sample(base: CaseRecord, new: CaseRecord, metric: str, rules: Rules) -> Sample | None:
    rule = rules.thresholds.rule(base.id, metric)
    if rules.calibration is not None and JUDGED[metric].by_ratio:
        rule = rule.widened(rules.calibration.noise(base.id, metric, shortened=base.shortened))
    return take_sample(_kept(base, rules), _kept(new, rules), metric, rule)


def _is_shortened(case: CaseRecord, metric: str, rules: Rules) -> bool:
    return case.shortened and (JUDGED[metric].of_training or not rules.judge_shortened)


def _broken(sample: Sample, rules: Rules) -> MetricVerdict:
    """Below its floor a training has failed, whatever base had; that needs no test."""
    assert sample.rule.floor is not None
    count, total = sample.below_floor, len(sample.trainings)
    floor = METRICS[sample.metric].show(sample.rule.floor)
    interval = sample.shift.interval(rules.confidence) if sample.has_ratio else None
    reason = f"{count} of {total} trainings below its floor of {floor}"
    return _verdict(sample, "worse", interval, reason=reason)


def _unjudged(sample: Sample, shortened: bool, rules: Rules) -> MetricVerdict:
    """A verdict without a test: shortened, or without values that could be compared."""
    if sample.has_ratio:
        interval = sample.shift.interval(rules.confidence)
        return _verdict(sample, "shortened", interval, gates=False)
    if not sample.new and shortened:
        return _verdict(sample, "shortened", None, gates=False)
    if not sample.new:
        return _verdict(sample, "missing", None, reason="base has this figure, new has not")
    return _verdict(sample, "not comparable", None, reason="a figure of 0 has no ratio")


def _judge_family(family: Sequence[Sample], rules: Rules) -> Iterable[MetricVerdict]:
    """One metric of several cases, whose errors are held together (Holm)."""
    worse = holm({each.case_id: each.shift.p_above(each.limit) for each in family})
    better = holm({each.case_id: each.shift.p_below(-each.limit) for each in family})
    for sample in family:
        p_values = worse[sample.case_id], better[sample.case_id]
        yield _judge_sample(sample, *p_values, cases=len(family), rules=rules)


def _judge_sample(
    sample: Sample, p_worse: float, p_better: float, *, cases: int, rules: Rules
) -> MetricVerdict:
    interval = sample.shift.interval(rules.confidence)
    excluded = _excludes_regression(sample, interval, rules)
    verdict = _of_sample(sample, interval, p_worse, p_better, excluded, rules)
    needed = _repeats_needed(sample, interval, cases, rules) if verdict == "inconclusive" else None
    reason = _why(sample, verdict, interval, needed)
    return _verdict(
        sample,
        verdict,
        interval,
        p_value=p_worse,
        rules_out_regression=excluded,
        repeats_needed=needed,
        reason=reason,
    )


def _of_sample(
    sample: Sample,
    interval: Interval,
    p_worse: float,
    p_better: float,
    excluded: bool,
    rules: Rules,
) -> Verdict:
    if p_worse < rules.one_sided_error:
        return "slower" if _is_speed(sample.metric) else "worse"
    if p_better < rules.one_sided_error:
        return "faster" if _is_speed(sample.metric) else "better"
    if excluded and (not sample.by_ratio or interval.low > -sample.limit):
        return "same"
    return "inconclusive"


def _why(sample: Sample, verdict: Verdict, interval: Interval, needed: int | None) -> str | None:
    """What keeps a verdict from being one."""
    if verdict != "inconclusive":
        return None
    if not sample.shift.is_decidable:
        return "one run a side decides nothing, train three times or more"
    if _is_beyond(sample, interval):
        return "beyond the threshold, but not certain enough for one case of many"
    return f"{MAX_REPEATS:,} repeats a side would not settle it" if needed is None else None


def _is_beyond(sample: Sample, interval: Interval) -> bool:
    return interval.low > sample.limit or interval.high < -sample.limit


def _repeats_needed(sample: Sample, interval: Interval, cases: int, rules: Rules) -> int | None:
    """Repeats a side that would probably make another verdict of an inconclusive one."""
    if _is_beyond(sample, interval):  # Holm's first step is what it did not pass
        confidence = 1 - (1 - rules.confidence) / cases
        return sample.shift.repeats_needed(-sample.limit, sample.limit, confidence=confidence)
    if sample.by_ratio:
        return sample.shift.repeats_needed(-sample.limit, sample.limit, confidence=rules.confidence)
    confidence = 1 - 2 * (1 - rules.confidence)
    return sample.shift.repeats_needed(-math.inf, sample.limit, confidence=confidence)


def _excludes_regression(sample: Sample, interval: Interval, rules: Rules) -> bool:
    """Whether new is certainly not worse by the threshold.

    Of accuracy this is all that is asked, in one direction, so the error may all lie there.
    """
    if not sample.by_ratio:
        interval = sample.shift.interval(1 - 2 * (1 - rules.confidence))
    return interval.high < sample.limit


def _is_speed(metric: str) -> bool:
    return metric.endswith(("_seconds", "_per_second", "_seconds_p50"))


def _verdict(
    sample: Sample,
    verdict: Verdict,
    interval: Interval | None,
    *,
    gates: bool | None = None,
    p_value: float | None = None,
    rules_out_regression: bool = False,
    repeats_needed: int | None = None,
    reason: str | None = None,
) -> MetricVerdict:
    """What the table and every file show of a sample."""
    base, new = sample.medians
    estimate, low, high = (None, None, None) if interval is None else sample.shown(interval)
    return MetricVerdict(
        verdict=verdict,
        gates=sample.rule.gate if gates is None else gates,
        base=base,
        new=new,
        n_base=len(sample.base),
        n_new=len(sample.new),
        ratio=estimate if sample.by_ratio else None,
        difference=None if sample.by_ratio else estimate,
        low=low,
        high=high,
        confidence=0.95 if interval is None else interval.confidence,
        threshold=sample.rule.threshold,
        floor=sample.rule.floor,
        p_value=p_value,
        paired=sample.paired,
        rules_out_regression=rules_out_regression,
        repeats_needed=repeats_needed,
        reason=reason,
    )
