"""Verdicts on one metric, for all cases together.

On a scale on which up is bad: `worse` is certainly above the threshold, `better` is certainly below
its mirror image, and `same` is certainly between them. Everything else is `inconclusive`.
docs/verdicts.md has the reasons, docs/verdicts-evidence.md how often each verdict is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from cnnperf.compare.disturbances import kept
from cnnperf.compare.rules import Rules, Words
from cnnperf.compare.samples import Sample, take_sample
from cnnperf.compare.stats import MAX_REPEATS, Interval, holm
from cnnperf.compare.thresholds import JUDGED
from cnnperf.compare.verdicts import MetricVerdict, Verdict
from cnnperf.record.metrics import METRICS
from cnnperf.record.schema import CaseRecord

Pair = tuple[CaseRecord, CaseRecord]
MetricVerdicts = dict[str, MetricVerdict]


def judge_metrics(pairs: Sequence[Pair], rules: Rules) -> dict[str, MetricVerdicts]:
    """Return verdicts by case and metric; false alarms of a metric are held over all cases."""
    verdicts: dict[str, MetricVerdicts] = {base.id: {} for base, _ in pairs}
    for metric in JUDGED:
        family: list[Sample] = []
        for base, new in pairs:
            sample = _sample(base, new, metric, rules)
            if sample is None:
                continue
            if sample.below_floor and not base.shortened:
                verdicts[base.id][metric] = _broken(sample, rules)
            elif not sample.base and not sample.is_censored:
                continue  # base has no value, and the floor is kept
            elif _is_shortened(base, metric, rules) or not _can_be_judged(sample):
                verdicts[base.id][metric] = _unjudged(sample, base.shortened, rules)
            else:
                family.append(sample)
        for sample, verdict in zip(family, _judge_family(family, rules), strict=True):
            verdicts[sample.case_id][metric] = verdict
    return verdicts


def _sample(base: CaseRecord, new: CaseRecord, metric: str, rules: Rules) -> Sample | None:
    rule = rules.thresholds.rule(base.id, metric)
    if rules.calibration is not None:
        rule = rules.calibration.widen(rule, base.id, metric, shortened=base.shortened)
    return take_sample(kept(base, rules), kept(new, rules), metric, rule)


def _can_be_judged(sample: Sample) -> bool:
    return sample.has_ratio or sample.is_censored


def _is_shortened(case: CaseRecord, metric: str, rules: Rules) -> bool:
    return case.shortened and (JUDGED[metric].of_training or not rules.judge_shortened)


def _broken(sample: Sample, rules: Rules) -> MetricVerdict:
    """Return `worse`: a training below its floor has failed, whatever base had."""
    assert sample.rule.floor is not None
    count, total = sample.below_floor, len(sample.trainings)
    floor = METRICS[sample.metric].show(sample.rule.floor)
    interval = sample.shift.interval(rules.confidence) if sample.has_ratio else None
    reason = f"{count} of {total} trainings below its floor of {floor}"
    return _verdict(sample, "worse", interval, reason=reason)


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
        p_values = worse.get(sample.case_id, 1.0), better.get(sample.case_id, 1.0)
        if sample.is_censored:
            yield _judge_reaching(sample, *p_values, rules=rules)
        else:
            yield _judge_sample(sample, *p_values, cases=len(decidable), rules=rules)


def _judge_reaching(
    sample: Sample, p_worse: float, p_better: float, *, rules: Rules
) -> MetricVerdict:
    """Judge by the number of trainings that reached the target, since the slowest have no time."""
    verdict: Verdict = "inconclusive"
    if min(p_worse, p_better) < rules.one_sided_error:
        verdict = "worse" if p_worse < p_better else "better"
    return _verdict(sample, verdict, None, p_value=p_worse, reason=sample.reached(rules.words))


def _judge_sample(
    sample: Sample, p_worse: float, p_better: float, *, cases: int, rules: Rules
) -> MetricVerdict:
    interval = sample.shift.interval(rules.confidence)
    excluded = _excludes_regression(sample, interval, rules)
    verdict = _of_sample(sample, interval, p_worse, p_better, excluded, rules)
    needed = _repeats_needed(sample, interval, cases, rules) if verdict == "inconclusive" else None
    reason = _why(sample, verdict, interval, needed, rules.words)
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


def _why(
    sample: Sample, verdict: Verdict, interval: Interval, needed: int | None, words: Words
) -> str | None:
    """Return why a verdict is inconclusive, where the interval alone does not show it."""
    if verdict != "inconclusive":
        return None
    if not sample.shift.is_decidable:
        return f"{_single(sample, words)} decides nothing: train three times or more"
    if _is_beyond(sample, interval):
        return "beyond the threshold, but not certain enough among so many cases"
    return f"{MAX_REPEATS:,} repeats a side would not settle it" if needed is None else None


def _single(sample: Sample, words: Words) -> str:
    """Name the side that was trained only once."""
    base, new = len(sample.base), len(sample.new)
    if base == new:
        return "one run a side"
    return f"one run of {words.base if base < new else words.new}"


def _is_beyond(sample: Sample, interval: Interval) -> bool:
    return interval.low > sample.limit or interval.high < -sample.limit


def _repeats_needed(sample: Sample, interval: Interval, cases: int, rules: Rules) -> int | None:
    """Return the repeats a side that would probably decide an inconclusive verdict."""
    if _is_beyond(sample, interval):  # it failed the first step of Holm
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
    """Return the verdict with the figures that all outputs show."""
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
