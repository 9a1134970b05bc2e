"""Write a record for benchmark dashboards: github-action-benchmark, or Bencher's Metric Format.

github-action-benchmark has two tools, `customSmallerIsBetter` and `customBiggerIsBetter`. A metric
goes where its better direction says; a metric without a direction is left out.

A value is the median over a case's repeats, its range the smallest to the largest. Failed and
skipped cases are left out: half a case would be a false point on the same line. A shortened case
keeps the metrics that do not depend on how long it trained.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from cnnperf.errors import UsageError, printable
from cnnperf.record.metrics import METRICS, Better, Metric, of_quality
from cnnperf.record.schema import Record

Target = Literal["customSmallerIsBetter", "customBiggerIsBetter", "bencher"]

DIRECTIONS: dict[Target, Better] = {
    "customSmallerIsBetter": "lower",
    "customBiggerIsBetter": "higher",
}

OF_WHOLE_TRAINING = frozenset(
    {
        "train_seconds",
        "outside_train_seconds",
        "time_to_accuracy_seconds",
        "test_accuracy",
        "test_f1_macro",
        "test_loss",
        "val_accuracy",
        "energy_joules",
    }
)
"""Metrics that a shortened training changes."""


class Measured(NamedTuple):
    """One metric of one case over its repeats."""

    case_id: str
    metric: Metric
    median: float
    values: list[float]


def export(record: Record, target: Target) -> list[dict[str, Any]] | dict[str, Any]:
    """Return the record as plain values for `json.dump`.

    Raises:
        UsageError: there is nothing to export; the readers of these formats refuse an empty file.
    """
    found = list(_measured(record))
    if target != "bencher":
        found = [each for each in found if each.metric.better == DIRECTIONS[target]]
    if not found:
        raise UsageError(
            f"nothing to export to {target}: this record has no finished case with a metric for "
            "it; export a record of a run in which a case passed"
        )
    return _bencher(found) if target == "bencher" else [_entry(each) for each in found]


def _measured(record: Record) -> Iterator[Measured]:
    for case in record.cases:
        if case.outcome != "passed":
            continue
        for metric in [*METRICS.values(), *map(of_quality, case.quality)]:
            median = case.median(metric.name)
            is_own = case.declared(metric.name) is not None
            is_partial = case.shortened and (is_own or metric.name in OF_WHOLE_TRAINING)
            if median is not None and not is_partial:
                yield Measured(printable(case.id), metric, median, case.values(metric.name))


def _entry(found: Measured) -> dict[str, Any]:
    """Return a result; its range is ± half the distance of the extremes, as the action wants it."""
    least, greatest = min(found.values), max(found.values)
    return {
        "name": f"{found.case_id}/{found.metric.name}",
        "unit": found.metric.unit,
        "value": found.median,
        "range": f"± {(greatest - least) / 2:.6g}",
        "extra": f"median of n={len(found.values)}, from {least:.6g} to {greatest:.6g}\n"
        f"{found.metric.meaning}",
    }


def _bencher(found: list[Measured]) -> dict[str, Any]:
    results: dict[str, Any] = {}
    for each in found:
        results.setdefault(each.case_id, {})[each.metric.name] = {
            "value": each.median,
            "lower_value": min(each.values),
            "upper_value": max(each.values),
        }
    return results
