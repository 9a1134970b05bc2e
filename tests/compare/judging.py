"""Cases that are trained as fast, or learn as well, as a test says, and what is judged of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cnnperf.compare.inputs import Side
from cnnperf.compare.judge import judge
from cnnperf.compare.rules import Rules
from cnnperf.compare.verdicts import CaseVerdicts, Comparison, MetricVerdict
from cnnperf.record.schema import CaseRecord
from tests.examples import (
    example_case_record,
    example_record,
    example_repeat,
)

STEADY = (10.0, 10.05, 9.95, 10.02, 9.98)
CASE = "modified_vgg-mnist-28-eager"


def timed(seconds: Sequence[float] = STEADY, case: Any = None, **fields: Any) -> CaseRecord:
    """Trained once with each seed, in so many seconds."""
    repeats = [
        example_repeat(seed, value, images_per_second=480_000 / value)
        for seed, value in enumerate(seconds)
    ]
    return example_case_record(case, repeats, **fields)


def learned(accuracies: Sequence[float], seeds: Sequence[int] | None = None) -> CaseRecord:
    """Trained in about ten seconds, with such a share of the test images right."""
    seeds = seeds or range(len(accuracies))
    repeats = [
        example_repeat(seed, 10 + seed / 100, test_accuracy=value, test_f1_macro=value)
        for seed, value in zip(seeds, accuracies, strict=True)
    ]
    return example_case_record(repeats=repeats)


def side_of(*cases: CaseRecord, **fields: Any) -> Side:
    """One side of a comparison, of these cases."""
    return Side.of(example_record(*cases, **fields), "record.json")


def compared(
    base: CaseRecord | Sequence[CaseRecord], new: CaseRecord | Sequence[CaseRecord], **rules: Any
) -> Comparison:
    """What is judged of these cases, by rules that keywords change."""
    sides = [side_of(*([side] if isinstance(side, CaseRecord) else side)) for side in (base, new)]
    return judge(sides[0], sides[1], Rules(**rules))


def only_case(comparison: Comparison) -> CaseVerdicts:
    """The verdicts of a comparison of one case."""
    (case,) = comparison.cases
    return case


def train_seconds_of(comparison: Comparison) -> MetricVerdict:
    """Those on its time."""
    return only_case(comparison).metrics["train_seconds"]
