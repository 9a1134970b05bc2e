"""Judging: from two sides to a verdict on each metric of each case.

All repeats of a case must have trained the same thing in the same way, because a mean over two
kinds of training describes neither. They may differ: each repeat chooses `auto` precision by
itself, files are pooled, and records may be edited.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from cnnperf.compare.comparability import (
    FORBIDDING,
    environment_changes,
    fingerprint_difference,
    settings_changes,
    short_hash,
    some,
)
from cnnperf.compare.conclusion import conclude
from cnnperf.compare.drift import drifts
from cnnperf.compare.inputs import Side
from cnnperf.compare.judge_metrics import MetricVerdicts, judge_metrics
from cnnperf.compare.profile_change import profile_change
from cnnperf.compare.rules import Rules
from cnnperf.compare.samples import contamination, kept
from cnnperf.compare.verdicts import (
    SEVERITY,
    CaseVerdicts,
    Comparison,
    EnvironmentChange,
    Verdict,
)
from cnnperf.record.fingerprint import Fingerprint
from cnnperf.record.schema import CaseRecord, Repeat

MAX_NAMED = 5
"""Most seeds that a sentence names."""

RETRAIN = "train all repeats of the case again, with one cnnperf and the same data"


def judge(base: Side, new: Side, rules: Rules | None = None) -> Comparison:
    """Compare two sides.

    Args:
        base: the reference.
        new: the side to judge.
        rules: thresholds, confidence, and what may differ (default: `Rules()`).
    """
    rules = rules or Rules()
    machine = environment_changes(base.environments, new.environments, rules.across)
    trainings = settings_changes(base.cases.values(), new.cases, rules.across)
    fields = {change.field for change in trainings}
    changes = [change for change in machine if change.field not in fields] + trainings
    # A case that base skipped is not expected of new; if new has it, it is a new case.
    expected = [case for case in base.cases.values() if case.outcome != "skipped"]
    status = {case.id: _status(case, new.cases.get(case.id), changes, rules) for case in expected}
    pairs = [(case, new.cases[case.id]) for case in expected if status[case.id] is None]
    metrics = judge_metrics(pairs, rules)
    judged = {first.id: _case(first, second, metrics[first.id], rules) for first, second in pairs}
    cases = [status[case.id] or judged[case.id] for case in expected]
    return conclude(base, new, cases, changes, rules)


def _case(base: CaseRecord, new: CaseRecord, metrics: MetricVerdicts, rules: Rules) -> CaseVerdicts:
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


def _status(
    base: CaseRecord, new: CaseRecord | None, changes: Sequence[EnvironmentChange], rules: Rules
) -> CaseVerdicts | None:
    """Return the verdict on a case whose metrics cannot be judged; None where they can be."""
    words, verdict = rules.words, partial(CaseVerdicts, id=base.id)
    if new is None:
        reason = f"{words.base} has this case, {words.new} does not"
        return verdict(verdict="missing", reason=reason)
    error = new.error.message if new.error is not None else "no reason is recorded"
    if new.outcome == "failed" and base.outcome == "failed":
        return verdict(verdict="not comparable", reason=f"failed on both sides: {error}")
    if new.outcome == "failed":
        return verdict(verdict="failed", reason=f"{words.new} failed: {error}")
    if new.outcome == "skipped":
        return verdict(verdict="missing", reason=f"skipped in {words.new}: {error}")
    verdict = partial(verdict, verdict="not comparable")
    if base.outcome == "failed":
        return verdict(reason=f"failed in {words.base}: there is nothing to compare with")
    if (why := _why_not_comparable(base, new, changes, rules)) is not None:
        # Times of another torch are compared only with --across, but losses always can be.
        return verdict(reason=why, drift=drifts(base, new))
    for case, name in ((base, words.base), (new, words.new)):
        if case.repeats and not kept(case, rules).repeats:
            return verdict(
                reason=f"every repeat of {name} was disturbed and left out",
                contamination=contamination(base, new, rules),
            )
    return None


def _why_not_comparable(
    base: CaseRecord, new: CaseRecord, changes: Sequence[EnvironmentChange], rules: Rules
) -> str | None:
    words = rules.words
    for case, name in ((base, words.base), (new, words.new)):
        if (mixed := _inconsistency(case, name, words.training)) is not None:
            return mixed
    if base.fingerprint is not None and new.fingerprint is not None:
        why = fingerprint_difference(base.fingerprint, new.fingerprint, rules.across)
        if why is not None:
            return why
    for each in base.quality:
        other = new.declared(each.name) or each
        if (other.better, other.unit) != (each.better, each.unit):
            return (
                f"{each.name} was {each.better} is better in {each.unit}, now {other.better} is "
                f"better in {other.unit}"
            )
    if base.is_deterministic != new.is_deterministic:
        return f"only one was trained with {words.training}deterministic, which is slower"
    if base.shortened != new.shortened:
        return f"only {words.base if base.shortened else words.new} was shortened"
    forbidding = [change for change in changes if change.forbids]
    return _forbidden(forbidding, words.across) if forbidding else None


def _forbidden(changes: Sequence[EnvironmentChange], across: str | None) -> str:
    """Name the first change, and the option that allows it."""
    first = changes[0]
    kinds = sorted({FORBIDDING[change.field.partition(" of ")[0]] for change in changes})
    options = " ".join((across or "--across {}").format(kind) for kind in kinds)
    differs = f"{first.field} {first.base} against {first.new}"
    if first.base == first.new:
        differs = f"{first.field} differs among the files of each side ({first.base})"
    differs = some([differs, *changes[1:]])
    if across is None:
        return f"{differs}: `cnnperf compare {options}` compares the records anyway"
    return f"{differs}: add {options} to compare anyway"


class _Fact(NamedTuple):
    """A property that must be equal in all repeats of a case."""

    name: str
    read: Callable[[Any], str]
    """Reads it from a repeat or from a fingerprint."""
    remedy: str
    """What to do; `{}` stands for the prefix of options."""
    is_in_fingerprint: bool = True


def _live(each: Repeat | Fingerprint) -> str:
    known = each if isinstance(each, Fingerprint) else each.training
    overrides = known.overrides if known else {}
    return " and ".join(f"{part} {live}" for part, live in overrides.items()) or "as in the recipe"


FACTS = (
    _Fact(
        "precision", lambda each: each.precision or "unknown",
        "each repeat chooses `auto` by itself: use {}precision=float32 or bfloat16",
    ),
    _Fact("model", lambda each: short_hash(each.model_sha256), RETRAIN),
    _Fact("live training", _live, RETRAIN),
    _Fact("data", lambda each: short_hash(each.dataset_sha256), RETRAIN),
    _Fact(
        "deterministic algorithms",
        lambda each: "on" if each.settings and each.settings.deterministic_algorithms else "off",
        "train all of them with {}deterministic, or none", is_in_fingerprint=False,
    ),
)  # fmt: skip


def _inconsistency(case: CaseRecord, side: str, prefix: str) -> str | None:
    """Return as a clause why the repeats of a case are not of one kind; None if they are.

    The case's fingerprint is that of its first repeat.
    """
    if not case.repeats:
        return None
    if case.fingerprint is None:
        return f"{side} has no fingerprint, so what it trained is unknown: {RETRAIN}"
    for fact in FACTS:
        seeds: dict[str, list[int]] = {}
        for repeat in case.repeats:
            seeds.setdefault(fact.read(repeat), []).append(repeat.seed)
        if len(seeds) > 1:
            kinds = " and ".join(f"{kind} ({_named(seeds[kind])})" for kind in sorted(seeds))
            remedy = fact.remedy.format(prefix)
            return f"the repeats of {side} differ in {fact.name}, {kinds}: {remedy}"
        if fact.is_in_fingerprint and (promised := fact.read(case.fingerprint)) not in seeds:
            return (
                f"{side}'s fingerprint has {fact.name} {promised}, its repeats have "
                f"{next(iter(seeds))}: {RETRAIN}"
            )
    return None


def _named(seeds: Sequence[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {some(seeds, MAX_NAMED)}"
