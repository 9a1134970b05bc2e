"""Verdicts on records made by hand: every word that a case or a metric can be called."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from scipy import stats as scipy_stats

from cnnperf.compare.calibration import Calibration, CaseNoise, Noise, identity
from cnnperf.compare.judge import judge
from cnnperf.compare.rules import Rules
from cnnperf.compare.side import Side
from cnnperf.compare.thresholds import MetricSettings, Thresholds
from cnnperf.compare.verdicts import CaseVerdicts, Comparison, MetricVerdict
from cnnperf.environment.schema import Gpu, Settings, Software
from cnnperf.errors import UsageError
from cnnperf.record import CaseRecord, Repeat
from cnnperf.specs import Augmentation
from tests.examples import (
    CREATED,
    example_case,
    example_case_record,
    example_environment,
    example_flag,
    example_record,
    example_repeat,
    failed_case_record,
    skipped_case_record,
)

STEADY = (10.0, 10.05, 9.95, 10.02, 9.98)
CASE = "modified_vgg-mnist-28-eager"


def _case(seconds: Sequence[float] = STEADY, case: Any = None, **fields: Any) -> CaseRecord:
    repeats = [
        example_repeat(seed, value, images_per_second=480_000 / value)
        for seed, value in enumerate(seconds)
    ]
    return example_case_record(case, repeats, **fields)


def _learned(accuracies: Sequence[float], seeds: Sequence[int] | None = None) -> CaseRecord:
    seeds = seeds or range(len(accuracies))
    repeats = [
        example_repeat(seed, 10 + seed / 100, test_accuracy=value, test_f1_macro=value)
        for seed, value in zip(seeds, accuracies, strict=True)
    ]
    return example_case_record(repeats=repeats)


def _side(*cases: CaseRecord, **fields: Any) -> Side:
    return Side.of(example_record(*cases, **fields), "record.json")


def _compare(
    base: CaseRecord | Sequence[CaseRecord], new: CaseRecord | Sequence[CaseRecord], **rules: Any
) -> Comparison:
    sides = [_side(*([side] if isinstance(side, CaseRecord) else side)) for side in (base, new)]
    return judge(sides[0], sides[1], Rules(**rules))


def _only(comparison: Comparison) -> CaseVerdicts:
    (case,) = comparison.cases
    return case


def _train_seconds(comparison: Comparison) -> MetricVerdict:
    return _only(comparison).metrics["train_seconds"]


# --- speed --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("factor", "verdict", "exit_code"),
    [(1.0, "same", 0), (1.01, "same", 0), (1.10, "slower", 1), (0.90, "faster", 0)],
)
def test_a_change_in_speed(factor: float, verdict: str, exit_code: int) -> None:
    """Time and rate agree, and only a slowdown fails."""
    comparison = _compare(_case(), _case([factor * value for value in STEADY]))
    assert _only(comparison).metrics["train_seconds"].verdict == verdict
    assert _only(comparison).metrics["images_per_second"].verdict == verdict
    assert comparison.exit_code == exit_code
    assert comparison.verdict == ("regression" if exit_code else "no regression")


def test_figures_of_a_verdict_are_those_of_welchs_test() -> None:
    """Of the logarithms, since new is compared with base by their ratio."""
    new = [10.4, 10.9, 10.6]
    metric = _train_seconds(_compare(_case(), _case(new)))
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
    comparison = _compare(_case([10.0, 10.6, 9.6]), _case(noisy))
    metric = _train_seconds(comparison)
    assert metric.verdict == "inconclusive"
    assert not metric.rules_out_regression
    assert metric.repeats_needed is not None
    assert metric.repeats_needed > 3
    assert (comparison.verdict, comparison.exit_code) == ("inconclusive", 0)
    strict = _compare(_case([10.0, 10.6, 9.6]), _case(noisy), strict=True)
    assert strict.exit_code == 4


def test_a_change_as_large_as_the_threshold_is_not_to_be_settled() -> None:
    """No number of repeats would put it on one side, and it says so."""
    metric = _train_seconds(_compare(_case([9.7, 10.0, 10.3]), _case([9.991, 10.3, 10.609])))
    assert (metric.verdict, metric.repeats_needed) == ("inconclusive", None)
    assert metric.reason is not None
    assert metric.reason == "1,000 repeats a side would not settle it"


def test_what_can_only_be_faster_is_no_reason_to_fail() -> None:
    """The interval crosses the threshold on the good side alone."""
    comparison = _compare(_case(), _case([9.6, 9.75, 9.65]), strict=True)
    metric = _train_seconds(comparison)
    assert metric.verdict == "inconclusive"
    assert metric.rules_out_regression
    assert (comparison.verdict, comparison.exit_code) == ("no regression", 0)


def test_one_run_a_side_decides_nothing() -> None:
    """However large the change."""
    metric = _train_seconds(_compare(_case([10.0]), _case([20.0])))
    assert metric.verdict == "inconclusive"
    assert metric.ratio == pytest.approx(2)
    assert (metric.low, metric.high) == (None, None)
    assert metric.reason is not None
    assert metric.reason.startswith("one run a side decides nothing")


@pytest.mark.parametrize(("base", "new", "side"), [(1, 3, "base"), (3, 1, "new")])
def test_the_side_that_was_trained_but_once_is_named(base: int, new: int, side: str) -> None:
    """Whoever trained the other five times need not do so again."""
    metric = _train_seconds(_compare(_case(STEADY[:base]), _case(STEADY[:new])))
    assert metric.reason == f"one run of {side} decides nothing, train three times or more"


def test_the_threshold_in_force_decides() -> None:
    """The same change, with another idea of what counts."""
    slower = [1.10 * value for value in STEADY]
    loose = Thresholds(metrics={"train_seconds": MetricSettings(threshold=0.2)})
    assert _train_seconds(_compare(_case(), _case(slower), thresholds=loose)).verdict == "same"
    free = Thresholds(
        metrics={
            "train_seconds": MetricSettings(gate=False),
            "images_per_second": MetricSettings(gate=False),
        }
    )
    ungated = _compare(_case(), _case(slower), thresholds=free)
    assert _train_seconds(ungated).verdict == "slower"
    assert ungated.exit_code == 0


def test_many_cases_ask_for_more_certainty() -> None:
    """A change that is certain enough in one case is not in one of forty (Holm)."""
    base, new = _case([10.0, 10.1, 9.9]), _case([10.65, 10.76, 10.55])
    assert _train_seconds(_compare(base, new)).verdict == "slower"
    others = [_case(case=example_case(resolution=32 + n)) for n in range(40)]
    first = _compare([base, *others], [new, *others]).cases[0].metrics["train_seconds"]
    assert first.verdict == "inconclusive"
    assert first.low is not None
    assert first.low > 1.03
    assert first.reason is not None
    assert "one case of many" in first.reason


def test_cases_that_can_decide_nothing_cost_the_others_nothing() -> None:
    """One run a side never alarms, so correcting for forty of them would only lose power."""
    base, new = _case([10.0, 10.1, 9.9]), _case([10.65, 10.76, 10.55])
    alone = _train_seconds(_compare(base, new))
    for repeats in ([10.0], [10.0, 10.1, 9.9]):
        others = [_case(repeats, example_case(resolution=32 + n)) for n in range(40)]
        single = [_case([10.0], example_case(resolution=32 + n)) for n in range(40)]
        found = _compare([base, *others], [new, *single]).cases[0].metrics["train_seconds"]
        assert (found.verdict, found.p_value) == ("slower", alone.p_value)


# --- accuracy -----------------------------------------------------------------------------------

GOOD = (0.980, 0.981, 0.982)


@pytest.mark.parametrize(
    ("change", "verdict", "exit_code"),
    [(0.0, "same", 0), (-0.002, "same", 0), (-0.009, "worse", 1), (0.008, "better", 0)],
)
def test_a_change_in_accuracy(change: float, verdict: str, exit_code: int) -> None:
    """By the difference, in pairs of one seed; half a point counts."""
    small = (0.0001, -0.0001, 0.0002)
    new = [value + change + noise for value, noise in zip(GOOD, small, strict=True)]
    comparison = _compare(_learned(GOOD), _learned(new))
    metric = _only(comparison).metrics["test_accuracy"]
    assert (metric.verdict, metric.paired) == (verdict, True)
    assert metric.ratio is None
    assert metric.difference == pytest.approx(change, abs=2e-4)
    assert comparison.exit_code == exit_code


def test_pairs_are_those_of_one_seed_whatever_their_order() -> None:
    """Each seed loses a tenth of a point: paired, that is certain."""
    new = [value - 0.001 for value in GOOD]
    backwards = _learned(new[::-1], seeds=[2, 1, 0])
    metric = _only(_compare(_learned(GOOD), backwards)).metrics["test_accuracy"]
    assert metric.paired
    assert metric.difference == pytest.approx(-0.001)
    assert metric.low == pytest.approx(-0.001, abs=2e-4)


def test_other_seeds_are_not_paired() -> None:
    """Nor is a part of them: what the other trainings say must not be lost."""
    more = (*GOOD, 0.983, 0.984)
    for new in (_learned(GOOD, seeds=[7, 8, 9]), _learned(more, seeds=range(5))):
        metric = _only(_compare(_learned(GOOD), new)).metrics["test_accuracy"]
        assert not metric.paired
        assert metric.n_new == len(new.repeats)
        notes = _compare(_learned(GOOD), new).notes
        assert notes == (f"accuracy is not paired, since the seeds are not the same: {CASE}",)


def test_a_seed_that_was_trained_twice_counts_once() -> None:
    """As two files of one machine have it: what the seed decides is no news."""
    twice = _learned((*GOOD, *GOOD), seeds=[0, 1, 2, 0, 1, 2])
    metric = _only(_compare(_learned(GOOD), twice)).metrics["test_accuracy"]
    assert (metric.n_base, metric.n_new, metric.paired) == (3, 3, True)
    assert _only(_compare(_learned(GOOD), twice)).metrics["train_seconds"].n_new == 6


def test_a_broken_floor_fails_even_after_one_run() -> None:
    """0.9 to 0.1 must never pass."""
    comparison = _compare(_learned([0.99]), _learned([0.10]))
    metric = _only(comparison).metrics["test_accuracy"]
    assert (metric.verdict, metric.floor) == ("worse", 0.97)
    assert metric.reason == "1 of 1 trainings below its floor of 97.00 %"
    assert not metric.rules_out_regression
    assert comparison.exit_code == 1


def test_one_broken_training_among_good_ones_fails() -> None:
    """A median would not notice."""
    comparison = _compare(_learned([0.98] * 5), _learned([0.98, 0.1, 0.98, 0.98, 0.98]))
    metric = _only(comparison).metrics["test_accuracy"]
    assert metric.reason == "1 of 5 trainings below its floor of 97.00 %"
    assert comparison.exit_code == 1


@pytest.mark.parametrize("base_accuracy", [None, 0.0])
def test_a_floor_holds_where_base_has_no_accuracy(base_accuracy: float | None) -> None:
    """And where it was broken already."""
    repeats = [example_repeat(s, test_accuracy=base_accuracy) for s in range(3)]
    base = example_case_record(repeats=repeats)
    broken = _compare(base, _learned([0.1, 0.1, 0.1]))
    assert _only(broken).metrics["test_accuracy"].verdict == "worse"
    assert broken.exit_code == 1
    if base_accuracy is None:
        assert "test_accuracy" not in _only(_compare(base, _learned(GOOD))).metrics


def test_an_accuracy_that_is_gone_never_passes() -> None:
    """As a NaN is written: it is null in the record."""
    repeats = [example_repeat(seed, test_accuracy=None) for seed in range(3)]
    comparison = _compare(_learned(GOOD), example_case_record(repeats=repeats))
    assert _only(comparison).metrics["test_accuracy"].verdict == "missing"
    assert comparison.exit_code == 1


def test_figures_that_are_new_or_always_zero_are_not_judged() -> None:
    """Base has nothing to hold them to."""
    base = example_case_record(repeats=[example_repeat(s, compile_seconds=0.0) for s in range(3)])
    repeats = [example_repeat(s, compile_seconds=0.0, energy_joules=5.0) for s in range(3)]
    metrics = _only(_compare(base, example_case_record(repeats=repeats))).metrics
    assert not {"compile_seconds", "energy_joules"} & set(metrics)


# --- cases as a whole ---------------------------------------------------------------------------


def test_a_case_that_vanished_fails_and_a_new_one_is_listed() -> None:
    """In whatever else is the same."""
    other = _case(case=example_case("modified_resnet"))
    gone = _compare([_case(), other], [_case()])
    assert [case.verdict for case in gone.cases] == ["same", "missing"]
    assert gone.exit_code == 1
    came = _compare([_case()], [_case(), other])
    assert came.new_cases == (other.id,)
    assert came.exit_code == 0


def test_a_case_that_newly_fails_fails() -> None:
    """With its own reason; where both fail there is nothing to compare."""
    failed = failed_case_record("killed by SIGKILL")
    comparison = _compare(_case(case=example_case("modified_resnet")), failed)
    assert _only(comparison).verdict == "failed"
    assert _only(comparison).reason == "new failed: killed by SIGKILL"
    assert comparison.exit_code == 1
    both = _compare(failed, failed)
    assert _only(both).verdict == "not comparable"
    assert both.exit_code == 3


def test_a_skipped_case_is_missing_only_where_it_was_there() -> None:
    """Without its data set a case says nothing."""
    skipped = skipped_case_record("data set cifar10 is missing")
    trained = _case(case=example_case(dataset="cifar10"))
    comparison = _compare([_case(), trained], [_case(), skipped])
    assert comparison.cases[1].verdict == "missing"
    assert comparison.cases[1].reason == "skipped in new: data set cifar10 is missing"
    assert comparison.exit_code == 1
    back = _compare([_case(), skipped], [_case(), trained])
    assert back.exit_code == 0
    assert back.new_cases == (trained.id,)


def test_nothing_to_compare_with_is_said() -> None:
    """A base in which every case was skipped."""
    with pytest.raises(UsageError, match="no case was trained"):
        _compare(skipped_case_record(), _case())


# --- comparability ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"batch_size": 64}, "batch size 128 against 64"),
        ({"epochs": 3}, "epochs 10 against 3"),
        ({"learning_rate": 0.1}, "learning rate 0.001 against 0.1"),
    ],
)
def test_another_recipe_is_not_comparable(changes: dict[str, Any], told: str) -> None:
    """Whatever the ids say."""
    other = _case(case=example_case(**changes))
    comparison = _compare(_case(), other)
    assert _only(comparison).verdict == "not comparable"
    assert _only(comparison).reason == told
    assert comparison.exit_code == 3


@pytest.mark.parametrize(
    ("base", "new", "told"),
    [
        ({"rotation_degrees": 5.0}, {"rotation_degrees": 10.0},
         "augmentation rotation degrees 5.0 against 10.0"),
        (None, {"rotation_degrees": 10.0}, "augmentation none against some"),
    ],
)  # fmt: skip
def test_another_augmentation_is_told_by_the_field_that_differs(
    base: dict[str, float] | None, new: dict[str, float], told: str
) -> None:
    """Not as two lists of everything."""
    cases = [
        _case(case=example_case(augmentation=each and Augmentation(**each))) for each in (base, new)
    ]
    assert _only(_compare(*cases)).reason == told


MIXTURES = {
    "precision": (
        {"precision": "bfloat16"},
        "precision, bfloat16 (seed 2) and float32 (seeds 0, 1, 3, 4): `auto` measures anew in "
        "each, so train them with --cnnperf-precision=float32 or bfloat16",
    ),
    "model": ({"model_sha256": "c" * 64}, "model, aaaaaaaaaaaa (seeds 0, 1, 3, 4) and cccccc"),
    "no model": ({"model_sha256": None}, "model, aaaaaaaaaaaa (seeds 0, 1, 3, 4) and — (seed 2)"),
    "data": ({"dataset_sha256": "c" * 64}, "data, bbbbbbbbbbbb (seeds 0, 1, 3, 4) and cccccc"),
    "deterministic": (
        {"settings": Settings(device="cuda", deterministic_algorithms=True)},
        "deterministic algorithms, off (seeds 0, 1, 3, 4) and on (seed 2): train all of them with",
    ),
}
"""What one repeat has otherwise, and what is said."""


@pytest.mark.parametrize("name", MIXTURES)
def test_repeats_of_two_kinds_are_not_compared(name: str) -> None:
    """On either side, whatever is asked across; the seeds are named."""
    changes, told = MIXTURES[name]
    mixed = _case()
    mixed.repeats[2] = mixed.repeats[2].model_copy(update=changes)
    for sides, side in (((mixed, _case()), "base"), ((_case(), mixed), "new")):
        comparison = _compare(*sides, across=frozenset({"hardware", "software"}))
        reason = _only(comparison).reason
        assert reason is not None
        assert reason.startswith(f"the repeats of {side} differ in {told}")
        assert comparison.exit_code == 3


def test_repeats_without_a_fingerprint_are_not_compared() -> None:
    """Nor those that are not what their fingerprint says."""
    for fingerprint, told in (
        (None, "has no fingerprint, so nobody knows what it trained"),
        (_case().fingerprint.model_copy(update={"precision": "bfloat16"}),  # type: ignore[union-attr]
         "'s fingerprint has precision bfloat16, its repeats have float32"),
    ):  # fmt: skip
        odd = _case(fingerprint=fingerprint)
        for sides in ((odd, _case()), (_case(), odd)):
            comparison = _compare(*sides)
            assert told in str(_only(comparison).reason)
            assert comparison.exit_code == 3


@pytest.mark.parametrize("both", [True, False])
def test_files_of_one_side_that_are_of_two_machines_are_told_and_not_compared(both: bool) -> None:
    """Also where the other side has just the same two, so that the sides do not differ."""
    other = example_environment(gpu=Gpu(name="NVIDIA A100"))
    mixed = Side.pool([
        ("one.json", example_record(_case())),
        ("two.json", example_record(_case(), environment=other, interrupted=True)),
    ])  # fmt: skip
    sides = (mixed, mixed) if both else (mixed, _side(_case(), environment=other))
    comparison = judge(*sides)
    change = comparison.environment_changes[0]
    assert (change.field, change.forbids) == ("hardware.gpu.name", True)
    assert change.base == "NVIDIA A100, NVIDIA H200"
    reason = str(_only(comparison).reason)
    assert "--across hardware" in reason
    if both:
        assert "hardware.gpu.name differs among the files of either side (NVIDIA A100, N" in reason
    assert comparison.exit_code == 3
    assert judge(*sides, Rules(across=frozenset({"hardware"}))).exit_code == 0


@pytest.mark.parametrize(
    ("field", "told"), [("model_sha256", "model aaaa"), ("dataset_sha256", "data bbbb")]
)
def test_another_model_or_other_data_are_not_comparable(field: str, told: str) -> None:
    """By their hashes, shortened for people."""
    repeats: list[Repeat] = [
        repeat.model_copy(update={field: "c" * 64}) for repeat in _case().repeats
    ]
    comparison = _compare(_case(), example_case_record(repeats=repeats))
    reason = _only(comparison).reason
    assert reason is not None
    assert reason.startswith(told)
    assert reason.endswith("against cccccccccccc")


def test_another_gpu_is_compared_only_if_that_is_the_question() -> None:
    """Then it is judged like any other change."""
    other = example_environment(gpu=Gpu(name="NVIDIA A100"))
    slower = _case([2 * value for value in STEADY])
    base, new = _side(_case()), _side(slower, environment=other)
    refused = judge(base, new)
    assert refused.exit_code == 3
    reason = _only(refused).reason
    assert reason is not None
    assert "NVIDIA H200 against NVIDIA A100" in reason
    assert "--across hardware" in reason
    first = refused.environment_changes[0]
    assert (first.field, first.forbids) == ("hardware.gpu.name", True)
    asked = judge(base, new, Rules(across=frozenset({"hardware"})))
    assert _train_seconds(asked).verdict == "slower"
    assert not any(change.forbids for change in asked.environment_changes)


def test_a_processor_with_other_instructions_is_another_one_whatever_its_name() -> None:
    """A virtual machine's is often called by its family alone."""
    names = {"gpu": None, "cpu_model": "AMD EPYC"}
    older = example_environment(**names, cpu_flags=("avx2",))
    newer = example_environment(**names, cpu_flags=("avx2", "avx512_bf16"))
    sides = _side(_case(), environment=older), _side(_case(), environment=newer)
    refused = judge(*sides)
    assert refused.exit_code == 3
    assert refused.environment_changes[0].field == "hardware.cpu_flags"
    assert judge(*sides, Rules(across=frozenset({"hardware"}))).exit_code == 0
    assert identity(older.hardware) != identity(newer.hardware)


def test_another_torch_is_compared_only_if_that_is_the_question() -> None:
    """And only the kind of difference that was asked for is let pass."""
    software = Software(torch="2.11.0", python="3.11.7", os="Linux", cnnperf="0.1.0")
    environment = example_environment().model_copy(update={"software": software})
    base, new = _side(_case()), _side(_case(), environment=environment)
    assert judge(base, new).exit_code == 3
    assert judge(base, new, Rules(across=frozenset({"hardware"}))).exit_code == 3
    assert judge(base, new, Rules(across=frozenset({"software"}))).exit_code == 0


def test_arguments_that_seem_swapped_are_told() -> None:
    """A base that is younger than new may be meant; nobody should have to find out by himself."""
    older = _side(_case(), created=CREATED - timedelta(days=1))
    told = "new was recorded before base: are they the right way round?"
    assert told in judge(_side(_case()), older).notes
    assert told not in judge(older, _side(_case())).notes
    assert told not in judge(older, older).notes


def test_small_print_is_shown_and_forbids_nothing() -> None:
    """Another commit, for one, is what most comparisons are about."""
    software = example_environment().software.model_copy(update={"cnnperf_commit": "f" * 40})
    environment = example_environment().model_copy(update={"software": software})
    comparison = judge(_side(_case()), _side(_case(), environment=environment))
    (change,) = comparison.environment_changes
    assert (change.field, change.base, change.new) == ("software.cnnperf_commit", "—", "f" * 12)
    assert comparison.exit_code == 0


def test_settings_of_the_trainings_themselves_are_compared() -> None:
    """One thread instead of two explains a slowdown, and does not forbid to see it."""

    def with_threads(count: int, factor: float) -> CaseRecord:
        case = _case([factor * value for value in STEADY])
        settings = case.repeats[0].settings
        assert settings is not None
        changed = settings.model_copy(update={"torch_threads": count})
        repeats = [repeat.model_copy(update={"settings": changed}) for repeat in case.repeats]
        return case.model_copy(update={"repeats": repeats})

    comparison = _compare(with_threads(2, 1.0), with_threads(1, 1.7))
    (change,) = comparison.environment_changes
    assert (change.field, change.base, change.new) == ("settings.torch_threads", "2", "1")
    assert comparison.verdict == "regression"


def _with(case: CaseRecord, **changes: Any) -> CaseRecord:
    """A case whose trainings had other settings, or losses."""
    settings = {name: changes.pop(name) for name in list(changes) if name != "step_losses"}
    repeats = []
    for repeat in case.repeats:
        assert repeat.settings is not None
        changed = {"settings": repeat.settings.model_copy(update=settings), **changes}
        repeats.append(repeat.model_copy(update=changed))
    return case.model_copy(update={"repeats": repeats})


def test_a_deterministic_training_is_not_held_to_another() -> None:
    """It is slower by nature, whatever is asked across."""
    slow = _with(_case(), deterministic_algorithms=True)
    comparison = _compare(_case(), slow, across=frozenset({"hardware", "software"}))
    assert _only(comparison).verdict == "not comparable"
    reason = _only(comparison).reason
    assert reason is not None
    assert "--cnnperf-deterministic" in reason
    assert _compare(slow, slow).exit_code == 0


def test_numerics_are_told_even_where_times_are_not_comparable() -> None:
    """Another torch, of which nobody said that it is the question."""
    software = example_environment().software.model_copy(update={"torch": "2.16.0"})
    environment = example_environment().model_copy(update={"software": software})
    base = _side(_with(_case([10.0]), step_losses=[2.0, 1.0]))
    new = _side(_with(_case([10.0]), step_losses=[2.0, 1.5]), environment=environment)
    comparison = judge(base, new)
    assert _only(comparison).verdict == "not comparable"
    (drift,) = _only(comparison).drift
    assert drift.first_difference_step == 2


def test_deterministic_records_without_a_common_seed_are_said_to_say_nothing() -> None:
    """Of numerics; silence would look like agreement."""
    base = _with(_case(), step_losses=[2.0, 1.0], deterministic_algorithms=True)
    repeats = [each.model_copy(update={"seed": each.seed + 50}) for each in base.repeats]
    new = base.model_copy(update={"repeats": repeats})
    told = (
        "numerics are not compared, since no seed was trained deterministically on both sides: "
        f"{CASE}"
    )
    assert told in _compare(base, new).notes
    assert told not in _compare(base, base).notes
    assert not any("numerics" in note for note in _compare(_case(), new).notes)


def test_shortened_records_gate_nothing() -> None:
    """Their figures are shown; their speed can be judged where that was asked for."""
    short = [_case(value, shortened=True) for value in (STEADY, [2 * s for s in STEADY])]
    comparison = _compare(*short)
    assert {metric.verdict for metric in _only(comparison).metrics.values()} == {"shortened"}
    assert _train_seconds(comparison).ratio == pytest.approx(2)
    assert (comparison.verdict, comparison.exit_code) == ("inconclusive", 0)
    assert _compare(*short, strict=True).exit_code == 4
    judged = _compare(*short, judge_shortened=True)
    assert _train_seconds(judged).verdict == "slower"
    assert _only(judged).metrics["test_accuracy"].verdict == "shortened"
    assert judged.exit_code == 1


# --- disturbed repeats --------------------------------------------------------------------------


def test_disturbed_repeats_are_shown_and_dropped_only_if_asked() -> None:
    """A repeat beside which something else ran, and one that only streamed its data."""
    case = _case([10.0, 10.05, 9.95, 14.0])
    flags = [[], [example_flag("streamed")], [], [example_flag("busy_cpu")]]
    repeats = [
        repeat.model_copy(update={"warnings": flag})
        for repeat, flag in zip(case.repeats, flags, strict=True)
    ]
    disturbed = case.model_copy(update={"repeats": repeats})
    kept = _compare(_case(), disturbed)
    assert _train_seconds(kept).n_new == 4
    seen = _only(kept).contamination
    assert (seen.base, seen.new, seen.dropped, seen.kinds) == (0, 1, False, ("busy_cpu",))
    dropped = _compare(_case(), disturbed, drop_flagged=True)
    assert _train_seconds(dropped).n_new == 3
    assert _train_seconds(dropped).verdict == "same"
    assert _only(dropped).contamination.dropped


def test_dropping_every_repeat_leaves_nothing_to_compare() -> None:
    """That is no regression: nobody has measured one."""
    flagged = [
        repeat.model_copy(update={"warnings": [example_flag("throttled")]})
        for repeat in _case().repeats
    ]
    new = _case().model_copy(update={"repeats": flagged})
    comparison = _compare(_case(), new, drop_flagged=True)
    assert _only(comparison).verdict == "not comparable"
    assert _only(comparison).reason == "every repeat of new was disturbed and is left out"
    assert _only(comparison).contamination.new == 5
    assert comparison.exit_code == 3


def test_what_gates_nothing_is_no_regression_even_where_nothing_gates() -> None:
    """A figure that is gone and that nobody gates on."""
    gates = dict.fromkeys(("train_seconds", "images_per_second", "test_accuracy", "test_f1_macro"))
    free = Thresholds(metrics={name: MetricSettings(gate=False) for name in gates})
    base = example_case_record(repeats=[example_repeat(s, energy_joules=9.0) for s in range(3)])
    new = example_case_record(repeats=[example_repeat(s) for s in range(3)])
    comparison = _compare(base, new, thresholds=free)
    assert _only(comparison).metrics["energy_joules"].verdict == "missing"
    assert comparison.exit_code == 0


def test_noise_that_widens_a_gate_is_told() -> None:
    """A machine that wavers by a tenth sees no change of a quarter, and says so."""
    noise = Noise(n=20, mean=10.0, sd=0.1, smallest_change=0.5)
    case = CaseNoise(metrics={"train_seconds": noise, "images_per_second": noise})
    calibration = Calibration(
        created=CREATED, hardware=example_environment().hardware, cases={CASE: case}
    )
    slower = _case([1.25 * value for value in STEADY])
    comparison = _compare(_case(), slower, calibration=calibration)
    assert _train_seconds(comparison).verdict == "same"
    (note,) = [note for note in comparison.notes if note.startswith("widened")]
    assert "3.0% -> 35.0%" in note
    short = calibration.model_copy(
        update={"cases": {CASE: case.model_copy(update={"shortened": True})}}
    )
    assert _train_seconds(_compare(_case(), slower, calibration=short)).verdict == "slower"
