"""How verdicts are put into words."""

from __future__ import annotations

import math

import pytest

from cnnperf.compare.verdicts import SEVERITY
from cnnperf.report.wording.comparison import effect, explain, medians, rows
from tests.compare.comparisons import (
    example_accuracy,
    example_case,
    example_comparison,
    example_metric,
    whole_case,
)


def test_medians_have_their_unit_and_their_number() -> None:
    assert medians("train_seconds", example_metric()) == ("20.0 s (n=5)", "21.0 s (n=5)")
    assert medians("test_accuracy", example_accuracy(n_new=3)) == ("98.99 % (n=5)", "98.68 % (n=3)")


def test_a_median_that_is_absent_has_no_number() -> None:
    assert medians("mfu", example_metric(base=None, n_base=0, new=0.5)) == ("—", "50.0 % (n=5)")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_median_that_is_no_number_is_shown_as_it_is(value: float) -> None:
    """Formats of bytes and FLOPs would stumble over it."""
    base, _ = medians("peak_memory_bytes", example_metric(base=value))
    assert base == f"{value} (n=5)"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "ratio 1.052 (1.031 to 1.074)"),
        ({"low": None}, "ratio 1.052 (1.074 or less)"),
        ({"high": math.inf}, "ratio 1.052 (1.031 or more)"),
        ({"low": None, "high": None}, "ratio 1.052"),
        ({"ratio": 1234567.0, "low": 0.00001234}, "ratio 1.23e+06 (1.23e-05 to 1.074)"),
        ({"ratio": math.inf}, ""),
        ({"ratio": None}, ""),
        (
            {"ratio": None, "difference": 0.0031, "low": -0.0012, "high": 0.0074},
            "+0.31 points (-0.12 to +0.74)",
        ),
        ({"ratio": None, "difference": -1e-9, "low": None, "high": None}, "+0.00 points"),
    ],
)
def test_an_effect_is_given_with_its_interval(fields: dict[str, float], expected: str) -> None:
    assert effect(example_metric(**fields)) == expected


def test_inconclusive_verdict_says_what_would_settle_it() -> None:
    undecided = example_accuracy(reason="the interval is wide", rules_out_regression=True)
    assert explain(undecided) == (
        "the interval is wide; a regression is ruled out; about 4 repeats per side would settle it"
    )
    assert explain(example_accuracy(repeats_needed=1)).endswith("1 repeat per side would settle it")


def test_decided_verdict_has_no_explanation() -> None:
    assert explain(example_metric()) == ""
    assert explain(example_metric("same", rules_out_regression=True)) == ""


def test_non_gating_regression_says_that_it_does_not_gate() -> None:
    assert explain(example_metric("worse", gates=False)) == "does not gate"
    assert explain(example_metric("faster", gates=False)) == ""


def test_severe_and_gating_rows_come_first() -> None:
    metrics = {
        "mfu": example_metric("same"),
        "energy_joules": example_metric("worse", gates=False),
        "train_seconds": example_metric("slower"),
        "peak_memory_bytes": example_metric("slower", gates=False),
        "test_accuracy": example_accuracy("worse"),
        "compile_seconds": example_metric("faster"),
    }
    found = rows([example_case(metrics=metrics)])
    assert [row.name for row in found] == [
        "test_accuracy",
        "train_seconds",
        "energy_joules",
        "peak_memory_bytes",
        "compile_seconds",
        "mfu",
    ]


def test_gating_row_comes_first_within_a_verdict() -> None:
    metrics = {
        "energy_joules": example_metric("inconclusive", gates=False),
        "train_seconds": example_metric("inconclusive"),
    }
    found = rows([example_case(metrics=metrics)])
    assert [row.name for row in found] == ["train_seconds", "energy_joules"]


def test_every_verdict_has_its_place() -> None:
    """In an order of equal gates the verdicts are sorted as `SEVERITY` has them."""
    cases = [whole_case(verdict, verdict) for verdict in sorted(SEVERITY)]
    assert tuple(row.verdict for row in rows(cases)) == SEVERITY


def test_a_case_judged_as_a_whole_has_a_line_of_its_own() -> None:
    found = [row for row in rows(example_comparison().cases) if row.metric is None]
    assert [(row.verdict, row.subject, row.explanation) for row in found] == [
        ("failed", "case", "new failed: killed by SIGKILL"),
        ("missing", "case", "base has it, new has not"),
        ("not comparable", "case", "the recipes differ"),
    ]
    assert all(row.case.id and row.gates for row in found)


def test_a_case_with_metrics_only_has_no_line_of_its_own() -> None:
    assert {row.name for row in rows([example_case()])} == {
        "images_per_second",
        "train_seconds",
        "test_accuracy",
    }
