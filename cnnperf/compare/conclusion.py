"""The conclusion of a comparison: one verdict, one sentence, an exit code, and notes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from cnnperf.compare.inputs import Side
from cnnperf.compare.rules import Rules
from cnnperf.compare.verdicts import (
    EXIT_INCONCLUSIVE,
    EXIT_NOT_COMPARABLE,
    EXIT_OK,
    EXIT_REGRESSION,
    SEVERITY,
    CaseVerdicts,
    Comparison,
    EnvironmentChange,
    Summary,
)
from cnnperf.errors import UsageError
from cnnperf.record.metrics import METRICS
from cnnperf.record.schema import CaseRecord

MAX_NAMED = 3
"""Most regressions that the summary names."""


def conclude(
    base: Side,
    new: Side,
    cases: Sequence[CaseVerdicts],
    changes: Sequence[EnvironmentChange],
    rules: Rules,
) -> Comparison:
    """Return the whole comparison.

    Raises:
        UsageError: base has no case to compare with.
    """
    if not cases:
        raise UsageError(
            f"{', '.join(base.files)}: no case was trained, so there is nothing to compare with"
        )
    verdict = _verdict(cases)
    return Comparison(
        verdict=verdict,
        exit_code=_exit_code(verdict, rules),
        summary=_summary(verdict, cases),
        sides=(rules.words.base, rules.words.new),
        base_files=base.files,
        new_files=new.files,
        cases=tuple(cases),
        new_cases=_new_cases(new, cases),
        environment_changes=tuple(changes),
        notes=tuple(_notes(base, new, cases, rules)),
    )


def _verdict(cases: Sequence[CaseVerdicts]) -> Summary:
    if any(case.is_regression for case in cases):
        return "regression"
    if any(case.verdict == "not comparable" for case in cases):
        return "not comparable"
    return "inconclusive" if any(map(_may_hide_a_regression, cases)) else "no regression"


def _may_hide_a_regression(case: CaseVerdicts) -> bool:
    """Return whether a case was left unjudged or undecided."""
    return case.verdict == "shortened" or any(
        metric.gates and metric.verdict == "inconclusive" and not metric.rules_out_regression
        for metric in case.metrics.values()
    )


def _exit_code(verdict: Summary, rules: Rules) -> int:
    if verdict == "regression":
        return EXIT_REGRESSION
    if verdict == "not comparable":
        return EXIT_NOT_COMPARABLE
    return EXIT_INCONCLUSIVE if verdict == "inconclusive" and rules.strict else EXIT_OK


def _summary(verdict: Summary, cases: Sequence[CaseVerdicts]) -> str:
    """Return one line: the verdict, the regressions, and how many other cases got which verdict."""
    bad = [case for case in cases if case.is_regression]
    good = _counted([case for case in cases if not case.is_regression])
    total = f"{len(cases)} case{'s' if len(cases) > 1 else ''}"
    if not bad:
        return f"{verdict} in {total}: {good}"
    named = ", ".join(f"{case.id} ({case.verdict})" for case in bad[:MAX_NAMED])
    more = f" and {len(bad) - MAX_NAMED} more" if len(bad) > MAX_NAMED else ""
    others = f"; others: {good}" if good else ""
    return f"{verdict} in {len(bad)} of {total}: {named}{more}{others}"


def _counted(cases: Sequence[CaseVerdicts]) -> str:
    counts = Counter(case.verdict for case in cases)
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in SEVERITY if counts[verdict])


def _new_cases(new: Side, cases: Sequence[CaseVerdicts]) -> tuple[str, ...]:
    known = {case.id for case in cases}
    trained = (case for case in new.cases.values() if case.outcome != "skipped")
    return tuple(case.id for case in trained if case.id not in known)


def _notes(base: Side, new: Side, cases: Sequence[CaseVerdicts], rules: Rules) -> list[str]:
    notes = []
    if any(record in new.records for record in base.records):
        notes.append("the same record is on both sides: only its noise is visible")
    for side, name in ((base, rules.words.base), (new, rules.words.new)):
        if any(record.interrupted for record in side.records):
            notes.append(f"{name} was interrupted: not every planned training was done")
    if max(each.created for each in new.records) < min(each.created for each in base.records):
        words = rules.words
        notes.append(
            f"{words.new} was recorded before {words.base}: check that they are not swapped"
        )
    if all(case.verdict == "shortened" for case in cases):
        notes.append(
            "shortened trainings do not gate: `cnnperf compare --judge-shortened` judges "
            "their speed"
        )
    notes += _pairing(cases)
    notes += _numerics(base, new)
    if rules.calibration is not None:
        notes.append(f"thresholds include the noise of {rules.calibration.describe()}")
        notes += _widened(cases, rules)
    if rules.thresholds.source is not None:
        notes.append(f"thresholds from {rules.thresholds.source}")
    return notes


def _pairing(cases: Sequence[CaseVerdicts]) -> list[str]:
    """Return a note on cases whose accuracies could not be paired by seed."""
    ids = [
        case.id
        for case in cases
        for name, metric in case.metrics.items()
        if name == "test_accuracy" and min(metric.n_base, metric.n_new) > 1 and not metric.paired
    ]
    if not ids:
        return []
    more = f" and {len(ids) - 1} more" if len(ids) > 1 else ""
    return [f"accuracy is not paired, because the seeds differ: {ids[0]}{more}"]


def _numerics(base: Side, new: Side) -> list[str]:
    """Return a note on cases with the loss of every step on both sides, but no common seed."""
    ids = [
        case.id
        for case in base.cases.values()
        if case.id in new.cases
        and (first := _seeds_with_losses(case))
        and (second := _seeds_with_losses(new.cases[case.id]))
        and first.isdisjoint(second)
    ]
    if not ids:
        return []
    more = f" and {len(ids) - 1} more" if len(ids) > 1 else ""
    return [
        "numerics are not compared, because no seed was trained deterministically on both sides: "
        f"{ids[0]}{more}"
    ]


def _seeds_with_losses(case: CaseRecord) -> set[int]:
    return {repeat.seed for repeat in case.repeats if repeat.step_losses}


def _widened(cases: Sequence[CaseVerdicts], rules: Rules) -> list[str]:
    """Return a note on the gating threshold that noise widened most."""
    found: list[tuple[float, str]] = []
    for case in cases:
        for name, metric in case.metrics.items():
            own = rules.thresholds.rule(case.id, name).threshold
            if metric.gates and metric.threshold > own:
                text = f"{case.id}, {METRICS[name].label}: {own:.1%} -> {metric.threshold:.1%}"
                found.append((metric.threshold / own, text))
    if not found:
        return []
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return [f"widened by noise: {max(found)[1]}{more}"]
