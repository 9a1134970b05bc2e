"""Verdicts on one metric, for all cases together.

On a scale on which up is bad: `worse` is certainly above the threshold, `better` is certainly below
its mirror image, and `same` is certainly between them. Everything else is `inconclusive`.
docs/verdicts.md has the reasons, docs/verdicts-evidence.md how often each verdict is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from cnnperf.compare.rules import CONFIDENCE, Rules
from cnnperf.compare.samples import Sample, kept, take_sample
from cnnperf.compare.stats import MAX_REPEATS, Interval, holm
from cnnperf.compare.thresholds import JUDGED, judged_as
from cnnperf.compare.verdicts import MetricVerdict, Verdict
from cnnperf.record.metrics import show_value
from cnnperf.record.schema import CaseRecord

Pair = tuple[CaseRecord, CaseRecord]
MetricVerdicts = dict[str, MetricVerdict]


def judge_metrics(pairs: Sequence[Pair], rules: Rules) -> dict[str, MetricVerdicts]:
    """Return verdicts by case and metric; false alarms of a metric are held over all cases."""
    verdicts: dict[str, MetricVerdicts] = {base.id: {} for base, _ in pairs}
    own = {each.name for pair in pairs for case in pair for each in case.quality}
    for metric in [*JUDGED, *sorted(own - JUDGED.keys())]:
        family: list[Sample] = []
        for base, new in pairs:
            sample = _sample(base, new, metric, rules)
            if sample is None:
                continue
            left_out = base.shortened and (sample.judged.of_training or not rules.judge_shortened)
            if sample.below_floor and not base.shortened:
                verdicts[base.id][metric] = _broken(sample, rules)
            elif not left_out and (gap := _gap(base, new, sample, rules)) is not None:
                verdicts[base.id][metric] = gap
            elif not sample.base and not sample.is_censored:
                continue  # base has no value, and nothing gates or the floor is kept
            elif left_out or not (sample.has_ratio or sample.is_censored):
                verdicts[base.id][metric] = _unjudged(sample, base.shortened, rules)
            else:
                family.append(sample)
        for sample, verdict in zip(family, _judge_family(family, rules), strict=True):
            verdicts[sample.case_id][metric] = verdict
    return verdicts


def _sample(base: CaseRecord, new: CaseRecord, metric: str, rules: Rules) -> Sample | None:
    # What new declares counts: it is what the user says now.
    quality = new.declared(metric) or base.declared(metric)
    if quality is None and metric not in JUDGED:
        return None
    rule = rules.thresholds.rule(base.id, metric, quality)
    if rules.calibration is not None:
        rule = rules.calibration.widen(rule, base.id, metric, shortened=base.shortened)
    sides = kept(base, rules), kept(new, rules)
    judged = judged_as(metric, quality)
    return take_sample(*sides, metric, judged, rule, pairs_devices=rules.pairs_devices)


def _broken(sample: Sample, rules: Rules) -> MetricVerdict:
    """Return `worse`: a training below its floor has failed, whatever base had."""
    assert sample.rule.floor is not None
    count, total = sample.below_floor, len(sample.trainings)
    floor = show_value(sample.metric, sample.rule.floor, sample.judged.unit)
    side = "below its floor" if sample.judged.better == "higher" else "above its limit"
    interval = sample.shift.interval(rules.confidence) if sample.has_ratio else None
    reason = f"{count} of {total} trainings {side} of {floor}"
    return _verdict(sample, "worse", interval, reason=reason)


def _gap(base: CaseRecord, new: CaseRecord, sample: Sample, rules: Rules) -> MetricVerdict | None:
    """Return the verdict on a gating metric that some trainings lack; None where none does.

    The others do not speak for them: what kept a figure from being recorded may be the change.
    """
    if sample.judged.may_be_missed or not sample.rule.gate:
        return None
    if new.declared(sample.metric) and not base.declared(sample.metric) and not sample.base:
        return None  # a quality that the case declares only now
    sides: tuple[tuple[CaseRecord, str, Verdict], ...] = (
        (new, rules.words.new, "missing"),
        (base, rules.words.base, "not comparable"),
    )
    measured = any(kept(case, rules).values(sample.metric) for case, _, _ in sides)
    for case, name, verdict in sides:
        repeats = kept(case, rules).repeats
        lacking = len(repeats) - len(kept(case, rules).values(sample.metric))
        if lacking and measured:
            reason = f"{lacking} of {len(repeats)} trainings of {name} lack this figure"
            return _verdict(sample, verdict, None, reason=reason)
    return None


def _unjudged(sample: Sample, shortened: bool, rules: Rules) -> MetricVerdict:
    """Return a verdict without a test: shortened, or without comparable values."""
    if sample.has_ratio:
        interval = sample.shift.interval(rules.confidence)
        return _verdict(sample, "shortened", interval, gates=False)
    if shortened and (sample.is_censored or not sample.new):
        return _verdict(sample, "shortened", None, gates=False)
    if not sample.new:
        reason = f"{rules.words.base} has this figure, {rules.words.new} does not"
        return _verdict(sample, "missing", None, reason=reason)
    return _verdict(sample, "not comparable", None, reason="a figure of 0 has no ratio")


def _judge_family(family: Sequence[Sample], rules: Rules) -> Iterable[MetricVerdict]:
    """Judge one metric of several cases, with p-values adjusted together (Holm)."""
    # A single run a side can reject nothing, so it does not count as a test.
    decidable = [each for each in family if each.is_decidable]
    worse = holm({each.case_id: each.p_worse for each in decidable})
    better = holm({each.case_id: each.p_better for each in decidable})
    for sample in family:
        p_worse = worse.get(sample.case_id, 1.0)
        surest = min(p_worse, p_better := better.get(sample.case_id, 1.0))
        verdict: Verdict | None = None
        if surest < rules.one_sided_error:
            verdict = "worse" if p_worse <= p_better else "better"
        if sample.is_censored:  # the slowest have no time, so counts are compared
            reason = sample.reached(rules.words)
            yield _verdict(sample, verdict or "inconclusive", None, p_value=p_worse, reason=reason)
        else:
            figures = _judge_sample(sample, verdict, len(decidable), rules)
            yield _verdict(sample, p_value=p_worse, **figures)


def _judge_sample(
    sample: Sample, changed: Verdict | None, cases: int, rules: Rules
) -> dict[str, Any]:
    """Return the verdict, the interval and what follows from them.

    Args:
        sample: the values.
        changed: `worse` or `better` where the p-values are small enough.
        cases: number of cases that Holm adjusted together.
        rules: of the comparison.
    """
    shift, limit = sample.shift, sample.limit
    interval = shift.interval(rules.confidence)
    # Only a loss of accuracy counts, so the whole error may lie on that side.
    one_sided = 1 - 2 * (1 - rules.confidence)
    bound = interval.high if sample.by_ratio else shift.interval(one_sided).high
    figures = {"interval": interval, "rules_out_regression": bound < limit}
    if changed is not None:
        if sample.by_ratio and sample.metric.endswith(("_seconds", "_per_second", "_seconds_p50")):
            changed = "slower" if changed == "worse" else "faster"
        return {"verdict": changed, **figures}
    if bound < limit and (not sample.by_ratio or interval.low > -limit):
        return {"verdict": "same", **figures}
    low, confidence, reason = -limit, rules.confidence, None
    if interval.low > limit or interval.high < -limit:  # it failed the first step of Holm
        confidence = 1 - (1 - rules.confidence) / cases
        reason = "beyond the threshold, but not certain enough among so many cases"
    elif not sample.by_ratio:
        low, confidence = -math.inf, one_sided
    needed = shift.repeats_needed(low, limit, confidence=confidence)
    if not shift.is_decidable:
        base, new = len(sample.base), len(sample.new)
        one = rules.words.base if base < new else rules.words.new
        single = "one run a side" if base == new else f"one run of {one}"
        reason = f"{single} decides nothing: train three times or more"
    elif reason is None and needed is None:
        reason = f"{MAX_REPEATS:,} repeats a side would not settle it"
    return {"verdict": "inconclusive", "repeats_needed": needed, "reason": reason, **figures}


def _verdict(
    sample: Sample, verdict: Verdict, interval: Interval | None, **others: Any
) -> MetricVerdict:
    """Return the verdict with the figures that all outputs show."""
    base, new = sample.medians
    estimate, low, high = (None, None, None) if interval is None else sample.shown(interval)
    return MetricVerdict(
        verdict=verdict,
        gates=others.pop("gates", sample.rule.gate),
        base=base,
        new=new,
        n_base=len(sample.base),
        n_new=len(sample.new),
        ratio=estimate if sample.by_ratio else None,
        difference=None if sample.by_ratio else estimate,
        low=low,
        high=high,
        confidence=CONFIDENCE if interval is None else interval.confidence,
        threshold=sample.rule.threshold,
        floor=sample.rule.floor,
        unit=sample.judged.unit,
        better=sample.judged.better,
        paired=sample.paired,
        **others,
    )
