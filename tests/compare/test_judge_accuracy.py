"""Verdicts on accuracy, on records made by hand: changes, pairs of seeds, floors."""

from __future__ import annotations

import pytest

from cnnperf.record.schema import CaseRecord
from cnnperf.report.formats.comparison import Format, as_text
from tests.compare.judging import (
    CASE,
    compared,
    learned,
    only_case,
)
from tests.examples import (
    example_case_record,
    example_repeat,
)

GOOD = (0.980, 0.981, 0.982)


@pytest.mark.parametrize(
    ("change", "verdict", "exit_code"),
    [(0.0, "same", 0), (-0.002, "same", 0), (-0.009, "worse", 1), (0.008, "better", 0)],
)
def test_a_change_in_accuracy(change: float, verdict: str, exit_code: int) -> None:
    """By the difference, in pairs of one seed; half a point counts."""
    small = (0.0001, -0.0001, 0.0002)
    new = [value + change + noise for value, noise in zip(GOOD, small, strict=True)]
    comparison = compared(learned(GOOD), learned(new))
    metric = only_case(comparison).metrics["test_accuracy"]
    assert (metric.verdict, metric.paired) == (verdict, True)
    assert metric.ratio is None
    assert metric.difference == pytest.approx(change, abs=2e-4)
    assert comparison.exit_code == exit_code


def test_pairs_are_those_of_one_seed_whatever_their_order() -> None:
    """Each seed loses a tenth of a point: paired, that is certain."""
    new = [value - 0.001 for value in GOOD]
    backwards = learned(new[::-1], seeds=[2, 1, 0])
    metric = only_case(compared(learned(GOOD), backwards)).metrics["test_accuracy"]
    assert metric.paired
    assert metric.difference == pytest.approx(-0.001)
    assert metric.low == pytest.approx(-0.001, abs=2e-4)


def test_other_seeds_are_not_paired() -> None:
    """Nor is a part of them: what the other trainings say must not be lost."""
    more = (*GOOD, 0.983, 0.984)
    for new in (learned(GOOD, seeds=[7, 8, 9]), learned(more, seeds=range(5))):
        metric = only_case(compared(learned(GOOD), new)).metrics["test_accuracy"]
        assert not metric.paired
        assert metric.n_new == len(new.repeats)
        notes = compared(learned(GOOD), new).notes
        assert notes == (f"accuracy is not paired, because the seeds differ: {CASE}",)


def test_a_seed_that_was_trained_twice_counts_once() -> None:
    """As two files of one machine have it: what the seed decides is no news."""
    twice = learned((*GOOD, *GOOD), seeds=[0, 1, 2, 0, 1, 2])
    metric = only_case(compared(learned(GOOD), twice)).metrics["test_accuracy"]
    assert (metric.n_base, metric.n_new, metric.paired) == (3, 3, True)
    assert only_case(compared(learned(GOOD), twice)).metrics["train_seconds"].n_new == 6


def test_a_broken_floor_fails_even_after_one_run() -> None:
    """0.9 to 0.1 must never pass."""
    comparison = compared(learned([0.99]), learned([0.10]))
    metric = only_case(comparison).metrics["test_accuracy"]
    assert (metric.verdict, metric.floor) == ("worse", 0.97)
    assert metric.reason == "1 of 1 trainings below its floor of 97.00 %"
    assert not metric.rules_out_regression
    assert comparison.exit_code == 1


def test_one_broken_training_among_good_ones_fails() -> None:
    """A median would not notice."""
    comparison = compared(learned([0.98] * 5), learned([0.98, 0.1, 0.98, 0.98, 0.98]))
    metric = only_case(comparison).metrics["test_accuracy"]
    assert metric.reason == "1 of 5 trainings below its floor of 97.00 %"
    assert comparison.exit_code == 1


def test_accuracy_below_the_floor_does_not_fail_shortened_trainings() -> None:
    """They have too few epochs to reach it."""
    base, new = (
        learned(values).model_copy(update={"shortened": True}) for values in (GOOD, [0.1, 0.1, 0.1])
    )
    for judge_shortened in (False, True):
        comparison = compared(base, new, judge_shortened=judge_shortened)
        metric = only_case(comparison).metrics["test_accuracy"]
        assert (metric.verdict, metric.gates, metric.floor) == ("shortened", False, 0.97)
        assert comparison.exit_code == 0


@pytest.mark.parametrize("base_accuracy", [None, 0.0])
def test_a_floor_holds_where_base_has_no_accuracy(base_accuracy: float | None) -> None:
    """And where it was broken already."""
    repeats = [example_repeat(s, test_accuracy=base_accuracy) for s in range(3)]
    base = example_case_record(repeats=repeats)
    broken = compared(base, learned([0.1, 0.1, 0.1]))
    assert only_case(broken).metrics["test_accuracy"].verdict == "worse"
    assert broken.exit_code == 1


def _learned(*accuracies: float | None) -> CaseRecord:
    """A case in which F1 was not measured, and accuracy only in some trainings."""
    return example_case_record(
        repeats=[
            example_repeat(seed, test_accuracy=accuracy, test_f1_macro=None)
            for seed, accuracy in enumerate(accuracies)
        ]
    )


@pytest.mark.parametrize(
    ("lacking_base", "lacking_new", "verdict", "exit_code"),
    [
        (5, 0, "not comparable", 3),
        (2, 0, "not comparable", 3),
        (0, 5, "missing", 1),
        (0, 3, "missing", 1),
        (0, 1, "missing", 1),
        (1, 1, "missing", 1),
    ],
)
def test_half_an_accuracy_is_not_passed(
    lacking_base: int, lacking_new: int, verdict: str, exit_code: int
) -> None:
    """The trainings that have one do not speak for those that do not."""
    base, new = (
        _learned(*[None] * lacking, *[0.98] * (5 - lacking))
        for lacking in (lacking_base, lacking_new)
    )
    comparison = compared(base, new)
    metric = only_case(comparison).metrics["test_accuracy"]
    assert (metric.verdict, comparison.exit_code) == (verdict, exit_code)
    lacking, name = (lacking_new, "new") if lacking_new else (lacking_base, "base")
    assert metric.reason == f"{lacking} of 5 trainings of {name} lack this figure"


def test_a_gating_figure_that_base_lacks_is_not_passed_without_a_floor() -> None:
    """A rate has none; and no format is silent about it."""
    base, new = (
        example_case_record(
            repeats=[example_repeat(seed, images_per_second=rate) for seed in range(3)]
        )
        for rate in (None, 2400.0)
    )
    comparison = compared(base, new)
    assert only_case(comparison).metrics["images_per_second"].verdict == "not comparable"
    assert comparison.exit_code == 3
    for form in Format:
        assert "3 of 3 trainings of base lack this figure" in " ".join(
            as_text(comparison, form).split()
        ), form


def test_figures_that_both_sides_lack_are_not_missed() -> None:
    """As the accuracy of a training of four steps."""
    comparison = compared(_learned(None, None, None), _learned(None, None, None))
    assert "test_accuracy" not in only_case(comparison).metrics
    assert comparison.exit_code == 0


def test_an_accuracy_that_is_gone_never_passes() -> None:
    """As a NaN is written: it is null in the record."""
    repeats = [example_repeat(seed, test_accuracy=None) for seed in range(3)]
    comparison = compared(learned(GOOD), example_case_record(repeats=repeats))
    assert only_case(comparison).metrics["test_accuracy"].verdict == "missing"
    assert comparison.exit_code == 1


def test_figures_that_are_new_or_always_zero_are_not_judged() -> None:
    """Base has nothing to hold them to."""
    base = example_case_record(repeats=[example_repeat(s, compile_seconds=0.0) for s in range(3)])
    repeats = [example_repeat(s, compile_seconds=0.0, energy_joules=5.0) for s in range(3)]
    metrics = only_case(compared(base, example_case_record(repeats=repeats))).metrics
    assert not {"compile_seconds", "energy_joules"} & set(metrics)
