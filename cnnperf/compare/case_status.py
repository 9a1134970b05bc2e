"""What can be said of a case before its metrics are looked at: gone, failed, not comparable.

Torch-free.
"""

from __future__ import annotations

from collections.abc import Sequence

from cnnperf.compare.comparability import FORBIDDING, fingerprint_difference
from cnnperf.compare.consistency import mixture
from cnnperf.compare.drift import drifts
from cnnperf.compare.rules import Rules
from cnnperf.compare.verdicts import CaseVerdicts, EnvironmentChange, Verdict
from cnnperf.record.schema import CaseRecord


def judge_whole(
    base: CaseRecord, new: CaseRecord | None, changes: Sequence[EnvironmentChange], rules: Rules
) -> CaseVerdicts | None:
    """The verdict on a case that has no metrics to be judged by; None where it has."""
    words = rules.words
    if new is None:
        return _verdict(base, "missing", f"{words.base} has this case, {words.new} has not")
    told = new.error.message if new.error is not None else "no reason is recorded"
    if new.outcome == "failed" and base.outcome == "failed":
        return _verdict(base, "not comparable", f"failed on both sides: {told}")
    if new.outcome == "failed":
        return _verdict(base, "failed", f"{words.new} failed: {told}")
    if new.outcome == "skipped":
        return _verdict(base, "missing", f"skipped in {words.new}: {told}")
    if base.outcome == "failed":
        return _verdict(base, "not comparable", f"failed in {words.base}: nothing to compare with")
    why = _why_not_comparable(base, new, changes, rules)
    if why is None:
        return None
    # Times of another torch cannot be compared without being asked to, but losses can.
    return _verdict(base, "not comparable", why).model_copy(update={"drift": drifts(base, new)})


def _verdict(case: CaseRecord, verdict: Verdict, reason: str) -> CaseVerdicts:
    return CaseVerdicts(id=case.id, verdict=verdict, reason=reason)


def _why_not_comparable(
    base: CaseRecord, new: CaseRecord, changes: Sequence[EnvironmentChange], rules: Rules
) -> str | None:
    words = rules.words
    mixed = mixture(base, words.base, words.training) or mixture(new, words.new, words.training)
    if mixed is not None:
        return mixed
    if base.fingerprint is not None and new.fingerprint is not None:
        why = fingerprint_difference(base.fingerprint, new.fingerprint, rules.across)
        if why is not None:
            return why
    if _is_deterministic(base) != _is_deterministic(new):
        option = f"{words.training}deterministic"
        return f"one was trained with {option}, which is slower, the other without"
    if base.shortened != new.shortened:
        return f"{words.base if base.shortened else words.new} was shortened, the other was not"
    forbidding = [change for change in changes if change.forbids]
    return _forbidden(forbidding, words.across) if forbidding else None


def _is_deterministic(case: CaseRecord) -> bool:
    settings = (repeat.settings for repeat in case.repeats)
    return any(each is not None and bool(each.deterministic_algorithms) for each in settings)


def _forbidden(changes: Sequence[EnvironmentChange], across: str | None) -> str:
    """Names the first change, and what to say if it is the question."""
    first, more = changes[0], len(changes) - 1
    others = f" and {more} more" if more else ""
    kinds = sorted({FORBIDDING[change.field.partition(" of ")[0]] for change in changes})
    options = " ".join(f"{across or '--across'} {kind}" for kind in kinds)
    differs = f"{first.field} {first.base} against {first.new}"
    if first.base == first.new:
        differs = f"{first.field} differs among the files of either side ({first.base})"
    if across is None:
        return f"{differs}{others}: `cnnperf compare {options}` compares the records all the same"
    return f"{differs}{others}: say {options} if that is the question"
