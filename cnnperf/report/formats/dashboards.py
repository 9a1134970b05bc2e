"""One record as other people's dashboards read it.

    cnnperf export reports/run.json --to customSmallerIsBetter > benchmark-data.json

Torch-free. Two formats, in three files:

`customSmallerIsBetter`, `customBiggerIsBetter`: tools of github-action-benchmark. A list of `name`,
    `value`, `unit`, `range` and `extra`; which metric goes where follows its better direction, and
    one without goes nowhere.
`bencher`: the Bencher Metric Format. By benchmark and measure `value`, `lower_value` and
    `upper_value`.

A value is the median over a case's repeats, its range from the least to the greatest. A case that
failed or was skipped is left out: half a case would be another point of the same line. Of a
shortened one only what does not depend on how long it trained goes out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple, TypedDict

from cnnperf.errors import UsageError, printable
from cnnperf.record.metrics import METRICS, Better, Metric
from cnnperf.record.schema import CaseRecord, Record

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
"""What a shortened training has less of, or has not learned."""


class Entry(TypedDict):
    """One result of github-action-benchmark."""

    name: str
    unit: str
    value: float
    range: str
    extra: str


class BencherMetric(TypedDict):
    """One result of Bencher."""

    value: float
    lower_value: float
    upper_value: float


class Measured(NamedTuple):
    """One metric of one case, over its repeats."""

    case_id: str
    metric: Metric
    median: float
    values: list[float]


def export(record: Record, target: Target) -> list[Entry] | dict[str, dict[str, BencherMetric]]:
    """The record as plain values for `json.dump`.

    Raises:
        UsageError: it has nothing to export, which the readers of these formats refuse.
    """
    found = list(_measured(record))
    if target != "bencher":
        found = [each for each in found if each.metric.better == DIRECTIONS[target]]
    if not found:
        raise UsageError(
            f"there is nothing to export to {target}: no case of this record was trained to its "
            "end and has a metric that belongs there"
        )
    return _bencher(found) if target == "bencher" else [_entry(each) for each in found]


def _measured(record: Record) -> Iterator[Measured]:
    for case in record.cases:
        if case.outcome != "passed":
            continue
        for metric in METRICS.values():
            median = case.median(metric.name)
            if median is not None and _belongs(case, metric):
                yield Measured(printable(case.id), metric, median, case.values(metric.name))


def _belongs(case: CaseRecord, metric: Metric) -> bool:
    return not (case.shortened and metric.name in OF_WHOLE_TRAINING)


def _entry(found: Measured) -> Entry:
    """The range as `± half the distance of least and greatest`, which that action can scale."""
    least, greatest = min(found.values), max(found.values)
    return Entry(
        name=f"{found.case_id}/{found.metric.name}",
        unit=found.metric.unit,
        value=found.median,
        range=f"± {(greatest - least) / 2:.6g}",
        extra=f"median of n={len(found.values)}, from {least:.6g} to {greatest:.6g}\n"
        f"{found.metric.meaning}",
    )


def _bencher(found: list[Measured]) -> dict[str, dict[str, BencherMetric]]:
    results: dict[str, dict[str, BencherMetric]] = {}
    for each in found:
        results.setdefault(each.case_id, {})[each.metric.name] = BencherMetric(
            value=each.median, lower_value=min(each.values), upper_value=max(each.values)
        )
    return results
