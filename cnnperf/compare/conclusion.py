"""The conclusion of a comparison: one verdict, one sentence, an exit code, and notes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from cnnperf.compare.comparability import some
from cnnperf.compare.drift import losses_by_seed
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
    known = {case.id for case in cases}
    trained = [case.id for case in new.cases.values() if case.outcome != "skipped"]
    return Comparison(
        verdict=verdict,
        exit_code=_exit_code(verdict, rules),
        summary=_summary(verdict, cases),
        sides=(rules.words.base, rules.words.new),
        base_files=base.files,
        new_files=new.files,
        cases=tuple(cases),
        new_cases=tuple(case_id for case_id in trained if case_id not in known),
        environment_changes=tuple(changes),
        notes=tuple(_notes(base, new, cases, rules)),
    )


def _verdict(cases: Sequence[CaseVerdicts]) -> Summary:
    if any(case.is_regression for case in cases):
        return "regression"
    if any(case.verdict == "not comparable" for case in cases):
        return "not comparable"
    undecided = any(
        metric.gates and metric.verdict == "inconclusive" and not metric.rules_out_regression
        for case in cases
        for metric in case.metrics.values()
    )
    unjudged = any(case.verdict == "shortened" for case in cases)
    return "inconclusive" if undecided or unjudged else "no regression"


def _exit_code(verdict: Summary, rules: Rules) -> int:
    if verdict == "regression":
        return EXIT_REGRESSION
    if verdict == "not comparable":
        return EXIT_NOT_COMPARABLE
    return EXIT_INCONCLUSIVE if verdict == "inconclusive" and rules.strict else EXIT_OK


def _summary(verdict: Summary, cases: Sequence[CaseVerdicts]) -> str:
    """Return one line: the verdict, the regressions, and how many other cases got which verdict."""
    bad = [case for case in cases if case.is_regression]
    counts = Counter(case.verdict for case in cases if not case.is_regression)
    good = ", ".join(f"{counts[verdict]} {verdict}" for verdict in SEVERITY if counts[verdict])
    total = f"{len(cases)} case{'s' if len(cases) > 1 else ''}"
    if not bad:
        return f"{verdict} in {total}: {good}"
    named = some([f"{case.id} ({case.verdict})" for case in bad], MAX_NAMED)
    others = f"; others: {good}" if good else ""
    return f"{verdict} in {len(bad)} of {total}: {named}{others}"


def _pairing(base: Side, new: Side, cases: Sequence[CaseVerdicts]) -> str:
    """Say whether devices are paired, and how many are left out."""
    metrics = [metric for case in cases for metric in case.metrics.values()]
    pairs = max((metric.n_base for metric in metrics if metric.paired), default=0)
    if not pairs:
        return "devices are not paired, because at most half of them are in both folders"
    alone = len(base.records) + len(new.records) - 2 * pairs
    left_out = f"; {alone:,} in one folder only {'is' if alone == 1 else 'are'} left out"
    return (
        f"{pairs:,} devices are in both folders and paired: intervals are those of their "
        f"differences{left_out if alone else ''}"
    )


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
    if rules.pairs_devices:
        notes.append(_pairing(base, new, cases))
    elif unpaired := [
        case.id
        for case in cases
        for name, metric in case.metrics.items()
        if name == "test_accuracy" and min(metric.n_base, metric.n_new) > 1 and not metric.paired
    ]:
        notes.append(f"accuracy is not paired, because the seeds differ: {some(unpaired)}")
    if uncompared := _without_common_losses(base, new):
        notes.append(
            "numerics are not compared, because no seed was trained deterministically on both "
            f"sides: {some(uncompared)}"
        )
    if rules.calibration is not None:
        notes.append(f"thresholds include the noise of {rules.calibration.describe()}")
        notes += _widened(cases, rules)
    if rules.thresholds.source is not None:
        notes.append(f"thresholds from {rules.thresholds.source}")
    return notes


def _without_common_losses(base: Side, new: Side) -> list[str]:
    """Return the cases with the loss of every step on both sides, but no common seed."""
    ids = []
    for case_id in filter(new.cases.__contains__, base.cases):
        first, second = (losses_by_seed(side.cases[case_id]) for side in (base, new))
        if first and second and first.keys().isdisjoint(second):
            ids.append(case_id)
    return ids


def _widened(cases: Sequence[CaseVerdicts], rules: Rules) -> list[str]:
    """Return a note on the gating threshold that noise widened most."""
    found: list[tuple[float, str]] = []
    for case in cases:
        for name, metric in case.metrics.items():
            if metric.ratio is None:  # noise widens only ratios
                continue
            own = rules.thresholds.rule(case.id, name).threshold
            if metric.gates and metric.threshold > own:
                text = f"{case.id}, {METRICS[name].label}: {own:.1%} -> {metric.threshold:.1%}"
                found.append((metric.threshold / own, text))
    ordered = [text for _, text in sorted(found, reverse=True)]
    return [f"widened by noise: {some(ordered)}"] if ordered else []
