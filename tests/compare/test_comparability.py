"""What is compared with what: another recipe, machine or library, and what is told instead."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from cnnperf.catalog.specs import Augmentation
from cnnperf.compare.comparability import settings_changes
from cnnperf.compare.inputs import Side
from cnnperf.compare.judge import judge
from cnnperf.compare.rules import Rules
from cnnperf.machine.names import identity
from cnnperf.record.environment import Gpu, Settings, Software
from cnnperf.record.live import LiveTraining
from cnnperf.record.schema import CaseRecord, Repeat
from tests.compare.judging import (
    CASE,
    STEADY,
    compared,
    only_case,
    side_of,
    timed,
    train_seconds_of,
)
from tests.examples import (
    CREATED,
    example_case,
    example_case_record,
    example_environment,
    example_record,
)


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
    other = timed(case=example_case(**changes))
    comparison = compared(timed(), other)
    assert only_case(comparison).verdict == "not comparable"
    assert only_case(comparison).reason == told
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
        timed(case=example_case(augmentation=each and Augmentation(**each))) for each in (base, new)
    ]
    assert only_case(compared(*cases)).reason == told


MIXTURES = {
    "precision": (
        {"precision": "bfloat16"},
        "precision, bfloat16 (seed 2) and float32 (seeds 0, 1, 3, 4): each repeat "
        "chooses `auto` by itself: use --cnnperf-precision=float32 or bfloat16",
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
    mixed = timed()
    mixed.repeats[2] = mixed.repeats[2].model_copy(update=changes)
    for sides, side in (((mixed, timed()), "base"), ((timed(), mixed), "new")):
        comparison = compared(*sides, across=frozenset({"hardware", "software"}))
        reason = only_case(comparison).reason
        assert reason is not None
        assert reason.startswith(f"the repeats of {side} differ in {told}")
        assert comparison.exit_code == 3


def test_repeats_without_a_fingerprint_are_not_compared() -> None:
    """Nor those that are not what their fingerprint says."""
    for fingerprint, told in (
        (None, "has no fingerprint, so what it trained is unknown"),
        (timed().fingerprint.model_copy(update={"precision": "bfloat16"}),  # type: ignore[union-attr]
         "'s fingerprint has precision bfloat16, its repeats have float32"),
    ):  # fmt: skip
        odd = timed(fingerprint=fingerprint)
        for sides in ((odd, timed()), (timed(), odd)):
            comparison = compared(*sides)
            assert told in str(only_case(comparison).reason)
            assert comparison.exit_code == 3


ADAM = "Adam(betas=(0.9, 0.999), eps=1e-08, lr=0.001)"
CROSS_ENTROPY = "CrossEntropyLoss(ignore_index=-100, reduction=mean)"


def live(case: CaseRecord | None = None, **parts: str) -> CaseRecord:
    """A case that trained with these live parts, whatever its recipe says."""
    training = LiveTraining.model_validate(
        {"optimizer": ADAM, "loss": CROSS_ENTROPY, "contradicts": list(parts), **parts}
    )
    case = case or timed()
    repeats = [each.model_copy(update={"training": training}) for each in case.repeats]
    return example_case_record(repeats=repeats)


SGD = {"optimizer": "SGD(lr=0.1, momentum=0.9)"}


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        (SGD, "optimizer adam against SGD(lr=0.1, momentum=0.9)"),
        ({"loss": "mine.Focal(gamma=2)"}, "loss cross_entropy against mine.Focal(gamma=2)"),
        ({"schedule": "StepLR(step_size=1)"}, "schedule — against StepLR(step_size=1)"),
    ],
)
def test_a_live_training_that_contradicts_its_recipe_is_not_comparable(
    parts: dict[str, str], told: str
) -> None:
    """Neither with one that does not, nor with a record of version 1, which does not know."""
    for base in (live(), timed()):
        comparison = compared(base, live(**parts))
        assert only_case(comparison).reason == told
        assert comparison.exit_code == 3


def test_a_live_training_that_agrees_with_its_recipe_compares_with_an_unknown_one() -> None:
    """Records of version 1 stay useful; so does a contradiction that both sides have."""
    for base, new in ((timed(), live()), (live(), timed()), (live(**SGD), live(**SGD))):
        assert only_case(compared(base, new)).verdict == "same"


def test_repeats_of_two_live_trainings_are_not_compared() -> None:
    """Nor repeats that are not what the fingerprint says."""
    mixed, odd = live(), live(**SGD)
    mixed.repeats[2] = odd.repeats[2]
    told = "the repeats of base differ in live training, as in the recipe (seeds 0, 1, 3, 4) and"
    assert str(only_case(compared(mixed, live())).reason).startswith(told)
    edited = odd.model_copy(update={"fingerprint": live().fingerprint})
    told = "new's fingerprint has live training as in the recipe, its repeats have optimizer SGD"
    assert str(only_case(compared(live(), edited)).reason).startswith(told)


def test_what_slows_a_training_is_shown_and_forbids_nothing() -> None:
    """A variable of one side alone, a quota and a tracer; not what is equal."""
    same = {"OMP_NUM_THREADS": "1"}
    base = _with(timed(), variables=same)
    new = _with(
        timed([2 * value for value in STEADY]),
        variables={**same, "CUDA_LAUNCH_BLOCKING": "1"},
        cpu_quota_cores=0.6,
        tracers=("coverage.tracer",),
    )
    for sides in ((base, new), (new, base)):
        comparison = compared(*sides)
        found = {each.field: (each.base, each.new) for each in comparison.environment_changes}
        order = 1 if sides[0] is base else -1
        assert found == {
            "settings.cpu_quota_cores": ("—", "0.6")[::order],
            "settings.variables.CUDA_LAUNCH_BLOCKING": ("—", "1")[::order],
            "settings.tracers": ("—", "coverage.tracer")[::order],
        }
        assert comparison.exit_code == (1 if order == 1 else 0)


@pytest.mark.parametrize("both", [True, False])
def test_files_of_one_side_that_are_of_two_machines_are_told_and_not_compared(both: bool) -> None:
    """Also where the other side has just the same two, so that the sides do not differ."""
    other = example_environment(gpu=Gpu(name="NVIDIA A100"))
    mixed = Side.pool([
        ("one.json", example_record(timed())),
        ("two.json", example_record(timed(), environment=other, interrupted=True)),
    ])  # fmt: skip
    sides = (mixed, mixed) if both else (mixed, side_of(timed(), environment=other))
    comparison = judge(*sides)
    change = comparison.environment_changes[0]
    assert (change.field, change.forbids) == ("hardware.gpu.name", True)
    assert change.base == "NVIDIA A100, NVIDIA H200"
    reason = str(only_case(comparison).reason)
    assert "--across hardware" in reason
    if both:
        assert "hardware.gpu.name differs among the files of each side (NVIDIA A100, N" in reason
    assert comparison.exit_code == 3
    assert judge(*sides, Rules(across=frozenset({"hardware"}))).exit_code == 0


@pytest.mark.parametrize(
    ("field", "told"), [("model_sha256", "model aaaa"), ("dataset_sha256", "data bbbb")]
)
def test_another_model_or_other_data_are_not_comparable(field: str, told: str) -> None:
    """By their hashes, shortened for people."""
    repeats: list[Repeat] = [
        repeat.model_copy(update={field: "c" * 64}) for repeat in timed().repeats
    ]
    comparison = compared(timed(), example_case_record(repeats=repeats))
    reason = only_case(comparison).reason
    assert reason is not None
    assert reason.startswith(told)
    assert reason.endswith("against cccccccccccc")


def test_another_gpu_is_compared_only_if_that_is_the_question() -> None:
    """Then it is judged like any other change."""
    other = example_environment(gpu=Gpu(name="NVIDIA A100"))
    slower = timed([2 * value for value in STEADY])
    base, new = side_of(timed()), side_of(slower, environment=other)
    refused = judge(base, new)
    assert refused.exit_code == 3
    reason = only_case(refused).reason
    assert reason is not None
    assert "NVIDIA H200 against NVIDIA A100" in reason
    assert "--across hardware" in reason
    first = refused.environment_changes[0]
    assert (first.field, first.forbids) == ("hardware.gpu.name", True)
    asked = judge(base, new, Rules(across=frozenset({"hardware"})))
    assert train_seconds_of(asked).verdict == "slower"
    assert not any(change.forbids for change in asked.environment_changes)


def test_a_processor_with_other_instructions_is_another_one_whatever_its_name() -> None:
    """A virtual machine's is often called by its family alone."""
    names = {"gpu": None, "cpu_model": "AMD EPYC"}
    older = example_environment(**names, cpu_flags=("avx2",))
    newer = example_environment(**names, cpu_flags=("avx2", "avx512_bf16"))
    sides = side_of(timed(), environment=older), side_of(timed(), environment=newer)
    refused = judge(*sides)
    assert refused.exit_code == 3
    assert refused.environment_changes[0].field == "hardware.cpu_flags"
    assert judge(*sides, Rules(across=frozenset({"hardware"}))).exit_code == 0
    assert identity(older.hardware) != identity(newer.hardware)


def test_another_torch_is_compared_only_if_that_is_the_question() -> None:
    """And only the kind of difference that was asked for is let pass."""
    software = Software(torch="2.11.0", python="3.11.7", os="Linux", cnnperf="0.1.0")
    environment = example_environment().model_copy(update={"software": software})
    base, new = side_of(timed()), side_of(timed(), environment=environment)
    assert judge(base, new).exit_code == 3
    assert judge(base, new, Rules(across=frozenset({"hardware"}))).exit_code == 3
    assert judge(base, new, Rules(across=frozenset({"software"}))).exit_code == 0


def test_arguments_that_seem_swapped_are_told() -> None:
    """A base that is younger than new may be meant; nobody should have to find out by himself."""
    older = side_of(timed(), created=CREATED - timedelta(days=1))
    told = "new was recorded before base: check that they are not swapped"
    assert told in judge(side_of(timed()), older).notes
    assert told not in judge(older, side_of(timed())).notes
    assert told not in judge(older, older).notes


def test_small_print_is_shown_and_forbids_nothing() -> None:
    """Another commit, for one, is what most comparisons are about."""
    software = example_environment().software.model_copy(update={"cnnperf_commit": "f" * 40})
    environment = example_environment().model_copy(update={"software": software})
    comparison = judge(side_of(timed()), side_of(timed(), environment=environment))
    (change,) = comparison.environment_changes
    assert (change.field, change.base, change.new) == ("software.cnnperf_commit", "—", "f" * 12)
    assert comparison.exit_code == 0


def test_the_name_and_the_place_of_a_machine_are_no_difference() -> None:
    """Records of two equal machines are comparable, and nothing changed between them."""
    gpu = example_environment().hardware.gpu
    assert gpu is not None
    sides = [
        side_of(
            timed(),
            environment=example_environment(
                host=host, gpu=gpu.model_copy(update={"index": index, "pcie_address": address})
            ),
        )
        for host, index, address in (("node7", 0, "0000:1b:00.0"), ("node8", 3, "0000:af:00.0"))
    ]
    comparison = judge(*sides)
    assert comparison.environment_changes == ()
    assert comparison.exit_code == 0


def test_settings_of_the_trainings_themselves_are_compared() -> None:
    """One thread instead of two explains a slowdown, and does not forbid to see it."""

    def with_threads(count: int, factor: float) -> CaseRecord:
        case = timed([factor * value for value in STEADY])
        settings = case.repeats[0].settings
        assert settings is not None
        changed = settings.model_copy(update={"torch_threads": count})
        repeats = [repeat.model_copy(update={"settings": changed}) for repeat in case.repeats]
        return case.model_copy(update={"repeats": repeats})

    comparison = compared(with_threads(2, 1.0), with_threads(1, 1.7))
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
    slow = _with(timed(), deterministic_algorithms=True)
    comparison = compared(timed(), slow, across=frozenset({"hardware", "software"}))
    assert only_case(comparison).verdict == "not comparable"
    reason = only_case(comparison).reason
    assert reason is not None
    assert "--cnnperf-deterministic" in reason
    assert compared(slow, slow).exit_code == 0


def test_numerics_are_told_even_where_times_are_not_comparable() -> None:
    """Another torch, of which nobody said that it is the question."""
    software = example_environment().software.model_copy(update={"torch": "2.16.0"})
    environment = example_environment().model_copy(update={"software": software})
    base = side_of(_with(timed([10.0]), step_losses=[2.0, 1.0]))
    new = side_of(_with(timed([10.0]), step_losses=[2.0, 1.5]), environment=environment)
    comparison = judge(base, new)
    assert only_case(comparison).verdict == "not comparable"
    (drift,) = only_case(comparison).drift
    assert drift.first_difference_step == 2


def test_deterministic_records_without_a_common_seed_are_said_to_say_nothing() -> None:
    """Of numerics; silence would look like agreement."""
    base = _with(timed(), step_losses=[2.0, 1.0], deterministic_algorithms=True)
    repeats = [each.model_copy(update={"seed": each.seed + 50}) for each in base.repeats]
    new = base.model_copy(update={"repeats": repeats})
    told = (
        "numerics are not compared, because no seed was trained deterministically on both sides: "
        f"{CASE}"
    )
    assert told in compared(base, new).notes
    assert told not in compared(base, base).notes
    assert not any("numerics" in note for note in compared(timed(), new).notes)


def test_shortened_records_gate_nothing() -> None:
    """Their figures are shown; their speed can be judged where that was asked for."""
    short = [timed(value, shortened=True) for value in (STEADY, [2 * s for s in STEADY])]
    comparison = compared(*short)
    assert {metric.verdict for metric in only_case(comparison).metrics.values()} == {"shortened"}
    assert train_seconds_of(comparison).ratio == pytest.approx(2)
    assert (comparison.verdict, comparison.exit_code) == ("inconclusive", 0)
    assert compared(*short, strict=True).exit_code == 4
    judged = compared(*short, judge_shortened=True)
    assert train_seconds_of(judged).verdict == "slower"
    assert only_case(judged).metrics["test_accuracy"].verdict == "shortened"
    assert judged.exit_code == 1


def test_trainings_on_different_devices_are_comparable_only_across_hardware() -> None:
    """The environments may be equal: --cnnperf-device chose the device of each training."""
    sides = []
    for device in ("cpu", "cuda"):
        case = timed()
        settings = {"settings": Settings(device=device)}
        case.repeats = [repeat.model_copy(update=settings) for repeat in case.repeats]
        sides.append(case)
    base, new = sides
    for across, forbids in ((frozenset(), True), (frozenset({"hardware"}), False)):
        (change,) = settings_changes([base], {new.id: new}, across)
        assert (change.field, change.base, change.new) == ("settings.device", "cpu", "cuda")
        assert change.forbids is forbids
