"""Verdicts on whole cases: missing, failed, or not comparable, before any metric is judged."""

from __future__ import annotations

from collections.abc import Sequence

from cnnperf.compare.comparability import FORBIDDING, fingerprint_difference
from cnnperf.compare.consistency import inconsistency
from cnnperf.compare.drift import drifts
from cnnperf.compare.rules import Rules
from cnnperf.compare.verdicts import CaseVerdicts, EnvironmentChange, Verdict
from cnnperf.record.schema import CaseRecord


def judge_status(
    base: CaseRecord, new: CaseRecord | None, changes: Sequence[EnvironmentChange], rules: Rules
) -> CaseVerdicts | None:
    """Return the verdict on a case whose metrics cannot be judged; None where they can be."""
    words = rules.words
    if new is None:
        return _verdict(base, "missing", f"{words.base} has this case, {words.new} does not")
    reason = new.error.message if new.error is not None else "no reason is recorded"
    if new.outcome == "failed" and base.outcome == "failed":
        return _verdict(base, "not comparable", f"failed on both sides: {reason}")
    if new.outcome == "failed":
        return _verdict(base, "failed", f"{words.new} failed: {reason}")
    if new.outcome == "skipped":
        return _verdict(base, "missing", f"skipped in {words.new}: {reason}")
    if base.outcome == "failed":
        return _verdict(
            base, "not comparable", f"failed in {words.base}: there is nothing to compare with"
        )
    why = _why_not_comparable(base, new, changes, rules)
    if why is None:
        return None
    # Times of another torch are compared only with --across, but losses always can be.
    return _verdict(base, "not comparable", why).model_copy(update={"drift": drifts(base, new)})


def _verdict(case: CaseRecord, verdict: Verdict, reason: str) -> CaseVerdicts:
    return CaseVerdicts(id=case.id, verdict=verdict, reason=reason)


def _why_not_comparable(
    base: CaseRecord, new: CaseRecord, changes: Sequence[EnvironmentChange], rules: Rules
) -> str | None:
    words = rules.words
    mixed = inconsistency(base, words.base, words.training) or inconsistency(
        new, words.new, words.training
    )
    if mixed is not None:
        return mixed
    if base.fingerprint is not None and new.fingerprint is not None:
        why = fingerprint_difference(base.fingerprint, new.fingerprint, rules.across)
        if why is not None:
            return why
    if base.is_deterministic != new.is_deterministic:
        option = f"{words.training}deterministic"
        return f"only one was trained with {option}, which is slower"
    if base.shortened != new.shortened:
        return f"only {words.base if base.shortened else words.new} was shortened"
    forbidding = [change for change in changes if change.forbids]
    return _forbidden(forbidding, words.across) if forbidding else None


def _forbidden(changes: Sequence[EnvironmentChange], across: str | None) -> str:
    """Name the first change, and the option that allows it."""
    first, more = changes[0], len(changes) - 1
    others = f" and {more} more" if more else ""
    kinds = sorted({FORBIDDING[change.field.partition(" of ")[0]] for change in changes})
    options = " ".join(f"{across or '--across'} {kind}" for kind in kinds)
    differs = f"{first.field} {first.base} against {first.new}"
    if first.base == first.new:
        differs = f"{first.field} differs among the files of each side ({first.base})"
    if across is None:
        return f"{differs}{others}: `cnnperf compare {options}` compares the records anyway"
    return f"{differs}{others}: add {options} to compare anyway"
