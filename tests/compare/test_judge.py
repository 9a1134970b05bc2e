"""Verdicts on records made by hand: speed, cases as a whole, disturbed repeats."""

from __future__ import annotations

import pytest
from scipy import stats as scipy_stats

from cnnperf.compare.calibration import Calibration, CaseNoise, Noise
from cnnperf.compare.thresholds import MetricSettings, Thresholds
from cnnperf.errors import UsageError
from tests.compare.judging import (
    CASE,
    STEADY,
    compared,
    only_case,
    timed,
    train_seconds_of,
)
from tests.examples import (
    CREATED,
    example_case,
    example_case_record,
    example_environment,
    example_flag,
    example_repeat,
    failed_case_record,
    skipped_case_record,
)

# --- speed --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("factor", "verdict", "exit_code"),
    [(1.0, "same", 0), (1.01, "same", 0), (1.10, "slower", 1), (0.90, "faster", 0)],
)
def test_a_change_in_speed(factor: float, verdict: str, exit_code: int) -> None:
    """Time and rate agree, and only a slowdown fails."""
    comparison = compared(timed(), timed([factor * value for value in STEADY]))
    assert only_case(comparison).metrics["train_seconds"].verdict == verdict
    assert only_case(comparison).metrics["images_per_second"].verdict == verdict
    assert comparison.exit_code == exit_code
    assert comparison.verdict == ("regression" if exit_code else "no regression")


def test_figures_of_a_verdict_are_those_of_welchs_test() -> None:
    """Of the logarithms, since new is compared with base by their ratio."""
    new = [10.4, 10.9, 10.6]
    metric = train_seconds_of(compared(timed(), timed(new)))
    import numpy as np

    test = scipy_stats.ttest_ind(np.log(new), np.log(STEADY), equal_var=False)
    low, high = test.confidence_interval(0.95)
    assert (metric.base, metric.new) == (10.0, 10.6)
    assert (metric.n_base, metric.n_new, metric.paired) == (5, 3, False)
    assert metric.low == pytest.approx(np.exp(low))
    assert metric.high == pytest.approx(np.exp(high))
    assert metric.ratio == pytest.approx(np.exp(np.log(new).mean() - np.log(STEADY).mean()))
    assert metric.threshold == 0.03


def test_a_change_that_noise_could_be_is_inconclusive_and_says_what_would_settle_it() -> None:
    """Not the same, not slower; --strict alone makes an exit code of it."""
    noisy = [10.2, 11.1, 10.6]
    comparison = compared(timed([10.0, 10.6, 9.6]), timed(noisy))
    metric = train_seconds_of(comparison)
    assert metric.verdict == "inconclusive"
    assert not metric.rules_out_regression
    assert metric.repeats_needed is not None
    assert metric.repeats_needed > 3
    assert (comparison.verdict, comparison.exit_code) == ("inconclusive", 0)
    strict = compared(timed([10.0, 10.6, 9.6]), timed(noisy), strict=True)
    assert strict.exit_code == 4


def test_a_change_as_large_as_the_threshold_is_not_to_be_settled() -> None:
    """No number of repeats would put it on one side, and it says so."""
    metric = train_seconds_of(compared(timed([9.7, 10.0, 10.3]), timed([9.991, 10.3, 10.609])))
    assert (metric.verdict, metric.repeats_needed) == ("inconclusive", None)
    assert metric.reason is not None
    assert metric.reason == "1,000 repeats a side would not settle it"


def test_what_can_only_be_faster_is_no_reason_to_fail() -> None:
    """The interval crosses the threshold on the good side alone."""
    comparison = compared(timed(), timed([9.6, 9.75, 9.65]), strict=True)
    metric = train_seconds_of(comparison)
    assert metric.verdict == "inconclusive"
    assert metric.rules_out_regression
    assert (comparison.verdict, comparison.exit_code) == ("no regression", 0)


def test_one_run_a_side_decides_nothing() -> None:
    """However large the change."""
    metric = train_seconds_of(compared(timed([10.0]), timed([20.0])))
    assert metric.verdict == "inconclusive"
    assert metric.ratio == pytest.approx(2)
    assert (metric.low, metric.high) == (None, None)
    assert metric.reason is not None
    assert metric.reason.startswith("one run a side decides nothing")


@pytest.mark.parametrize(("base", "new", "side"), [(1, 3, "base"), (3, 1, "new")])
def test_the_side_that_was_trained_but_once_is_named(base: int, new: int, side: str) -> None:
    """Whoever trained the other five times need not do so again."""
    metric = train_seconds_of(compared(timed(STEADY[:base]), timed(STEADY[:new])))
    assert metric.reason == f"one run of {side} decides nothing: train three times or more"


def test_the_threshold_in_force_decides() -> None:
    """The same change, with another idea of what counts."""
    slower = [1.10 * value for value in STEADY]
    loose = Thresholds(metrics={"train_seconds": MetricSettings(threshold=0.2)})
    assert train_seconds_of(compared(timed(), timed(slower), thresholds=loose)).verdict == "same"
    free = Thresholds(
        metrics={
            "train_seconds": MetricSettings(gate=False),
            "images_per_second": MetricSettings(gate=False),
        }
    )
    ungated = compared(timed(), timed(slower), thresholds=free)
    assert train_seconds_of(ungated).verdict == "slower"
    assert ungated.exit_code == 0


def test_many_cases_ask_for_more_certainty() -> None:
    """A change that is certain enough in one case is not in one of forty (Holm)."""
    base, new = timed([10.0, 10.1, 9.9]), timed([10.65, 10.76, 10.55])
    assert train_seconds_of(compared(base, new)).verdict == "slower"
    others = [timed(case=example_case(resolution=32 + n)) for n in range(40)]
    first = compared([base, *others], [new, *others]).cases[0].metrics["train_seconds"]
    assert first.verdict == "inconclusive"
    assert first.low is not None
    assert first.low > 1.03
    assert first.reason is not None
    assert "among so many cases" in first.reason


def test_cases_that_can_decide_nothing_cost_the_others_nothing() -> None:
    """One run a side never alarms, so correcting for forty of them would only lose power."""
    base, new = timed([10.0, 10.1, 9.9]), timed([10.65, 10.76, 10.55])
    alone = train_seconds_of(compared(base, new))
    for repeats in ([10.0], [10.0, 10.1, 9.9]):
        others = [timed(repeats, example_case(resolution=32 + n)) for n in range(40)]
        single = [timed([10.0], example_case(resolution=32 + n)) for n in range(40)]
        found = compared([base, *others], [new, *single]).cases[0].metrics["train_seconds"]
        assert (found.verdict, found.p_value) == ("slower", alone.p_value)


# --- cases as a whole ---------------------------------------------------------------------------


def test_a_case_that_vanished_fails_and_a_new_one_is_listed() -> None:
    """In whatever else is the same."""
    other = timed(case=example_case("modified_resnet"))
    gone = compared([timed(), other], [timed()])
    assert [case.verdict for case in gone.cases] == ["same", "missing"]
    assert gone.exit_code == 1
    came = compared([timed()], [timed(), other])
    assert came.new_cases == (other.id,)
    assert came.exit_code == 0


def test_a_case_that_newly_fails_fails() -> None:
    """With its own reason; where both fail there is nothing to compare."""
    failed = failed_case_record("killed by SIGKILL")
    comparison = compared(timed(case=example_case("modified_resnet")), failed)
    assert only_case(comparison).verdict == "failed"
    assert only_case(comparison).reason == "new failed: killed by SIGKILL"
    assert comparison.exit_code == 1
    both = compared(failed, failed)
    assert only_case(both).verdict == "not comparable"
    assert both.exit_code == 3


def test_a_skipped_case_is_missing_only_where_it_was_there() -> None:
    """Without its data set a case says nothing."""
    skipped = skipped_case_record("data set cifar10 is missing")
    trained = timed(case=example_case(dataset="cifar10"))
    comparison = compared([timed(), trained], [timed(), skipped])
    assert comparison.cases[1].verdict == "missing"
    assert comparison.cases[1].reason == "skipped in new: data set cifar10 is missing"
    assert comparison.exit_code == 1
    back = compared([timed(), skipped], [timed(), trained])
    assert back.exit_code == 0
    assert back.new_cases == (trained.id,)


def test_nothing_to_compare_with_is_said() -> None:
    """A base in which every case was skipped."""
    with pytest.raises(UsageError, match="no case was trained"):
        compared(skipped_case_record(), timed())


# --- disturbed repeats --------------------------------------------------------------------------


def test_disturbed_repeats_are_shown_and_dropped_only_if_asked() -> None:
    """A repeat beside which something else ran, and one that only streamed its data."""
    case = timed([10.0, 10.05, 9.95, 14.0])
    flags = [[], [example_flag("streamed")], [], [example_flag("busy_cpu")]]
    repeats = [
        repeat.model_copy(update={"warnings": flag})
        for repeat, flag in zip(case.repeats, flags, strict=True)
    ]
    disturbed = case.model_copy(update={"repeats": repeats})
    kept = compared(timed(), disturbed)
    assert train_seconds_of(kept).n_new == 4
    seen = only_case(kept).contamination
    assert (seen.base, seen.new, seen.dropped, seen.kinds) == (0, 1, False, ("busy_cpu",))
    dropped = compared(timed(), disturbed, drop_flagged=True)
    assert train_seconds_of(dropped).n_new == 3
    assert train_seconds_of(dropped).verdict == "same"
    assert only_case(dropped).contamination.dropped


def test_dropping_every_repeat_leaves_nothing_to_compare() -> None:
    """That is no regression: nobody has measured one."""
    flagged = [
        repeat.model_copy(update={"warnings": [example_flag("throttled")]})
        for repeat in timed().repeats
    ]
    new = timed().model_copy(update={"repeats": flagged})
    comparison = compared(timed(), new, drop_flagged=True)
    assert only_case(comparison).verdict == "not comparable"
    assert only_case(comparison).reason == "every repeat of new was disturbed and left out"
    assert only_case(comparison).contamination.new == 5
    assert comparison.exit_code == 3


def test_what_gates_nothing_is_no_regression_even_where_nothing_gates() -> None:
    """A figure that is gone and that nobody gates on."""
    gates = dict.fromkeys(("train_seconds", "images_per_second", "test_accuracy", "test_f1_macro"))
    free = Thresholds(metrics={name: MetricSettings(gate=False) for name in gates})
    base = example_case_record(repeats=[example_repeat(s, energy_joules=9.0) for s in range(3)])
    new = example_case_record(repeats=[example_repeat(s) for s in range(3)])
    comparison = compared(base, new, thresholds=free)
    assert only_case(comparison).metrics["energy_joules"].verdict == "missing"
    assert comparison.exit_code == 0


def test_noise_that_widens_a_gate_is_told() -> None:
    """A machine that wavers by a tenth sees no change of a quarter, and says so."""
    noise = Noise(n=20, mean=10.0, sd=0.1, smallest_change=0.5)
    case = CaseNoise(metrics={"train_seconds": noise, "images_per_second": noise})
    calibration = Calibration(
        created=CREATED, hardware=example_environment().hardware, cases={CASE: case}
    )
    slower = timed([1.25 * value for value in STEADY])
    comparison = compared(timed(), slower, calibration=calibration)
    assert train_seconds_of(comparison).verdict == "same"
    (note,) = [note for note in comparison.notes if note.startswith("widened")]
    assert "3.0% -> 35.0%" in note
    short = calibration.model_copy(
        update={"cases": {CASE: case.model_copy(update={"shortened": True})}}
    )
    assert train_seconds_of(compared(timed(), slower, calibration=short)).verdict == "slower"
