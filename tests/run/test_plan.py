"""What a run will train, on what, for how long, and which old results still count."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cnnperf.catalog.datasets import check_files
from cnnperf.catalog.registry import get_case
from cnnperf.catalog.specs import Case
from cnnperf.errors import UsageError
from cnnperf.record.environment import Environment, Settings, Software
from cnnperf.record.messages import ModelFacts, ProbeResult
from cnnperf.run import plan as plan_module
from cnnperf.run.plan import (
    STARTUP_SECONDS,
    STEP_OVERHEAD_SECONDS,
    Plan,
    PlannedCase,
    choose_tier,
    estimate_seconds,
    make_plan,
    plan_case,
    plan_digest,
)
from cnnperf.run.settings import OPTIONS, RunSettings
from tests.examples import example_case, example_environment

DIGITS = "modified_vgg-digits-28-eager"
SAMPLE = "vgg16-digits-224-sample-eager"
MNIST = "modified_vgg-mnist-28-eager"


def _settings(**changes: Any) -> RunSettings:
    content: dict[str, Any] = {
        **{option.name: option.default for option in OPTIONS},
        "data_dir": Path("/nowhere"),
        "modules": (),
        "python_path": (),
    }
    return RunSettings(**{**content, **changes})


# --- the tier -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gpus", "machine", "tier", "reason"),
    [
        (None, "linux x86_64", "smoke", "auto: no NVIDIA or Apple GPU found"),
        (0, "linux aarch64", "smoke", "auto: no NVIDIA or Apple GPU found"),
        (1, "linux x86_64", "standard", "auto: 1 NVIDIA GPU found"),
        (8, "linux x86_64", "standard", "auto: 8 NVIDIA GPUs found"),
        (None, "darwin arm64", "standard", "auto: Apple GPU found"),
        (None, "darwin x86_64", "smoke", "auto: no NVIDIA or Apple GPU found"),
    ],
)
def test_auto_tier_is_standard_with_a_gpu_else_smoke(
    monkeypatch: pytest.MonkeyPatch, gpus: int | None, machine: str, tier: str, reason: str
) -> None:
    """And the smoke tier elsewhere; the header says why."""
    system, architecture = machine.split()
    monkeypatch.setattr(plan_module, "count_gpus", lambda: gpus)
    monkeypatch.setattr(plan_module, "sys", SimpleNamespace(platform=system))
    monkeypatch.setattr(plan_module, "platform", SimpleNamespace(machine=lambda: architecture))
    assert choose_tier(_settings()) == (tier, reason)


@pytest.mark.parametrize("tier", ["smoke", "standard", "full"])
def test_given_tier_is_used(monkeypatch: pytest.MonkeyPatch, tier: str) -> None:
    """Whatever the machine has."""
    monkeypatch.setattr(plan_module, "count_gpus", lambda: 8)
    assert choose_tier(_settings(tier=tier, device="cpu")) == (tier, "asked for")


@pytest.mark.parametrize(
    ("device", "tier"),
    [("cpu", "smoke"), ("cuda", "standard"), ("mps", "standard"), ("xpu", "standard")],
)
def test_given_device_decides_the_tier(
    monkeypatch: pytest.MonkeyPatch, device: str, tier: str
) -> None:
    """A CPU run on a GPU machine is a smoke run; the GPUs are not counted."""
    monkeypatch.setattr(plan_module, "count_gpus", _not_to_be_called)
    assert choose_tier(_settings(device=device)) == (tier, f"auto: --cnnperf-device={device}")


def _not_to_be_called(*_: object, **__: object) -> None:
    raise AssertionError("not to be called")


# --- the plan -----------------------------------------------------------------------------------


def test_case_selected_twice_is_planned_once() -> None:
    """Two tests may ask for one case."""
    made = make_plan([SAMPLE, DIGITS, SAMPLE], _settings(), "smoke")
    assert list(made.cases) == [SAMPLE, DIGITS]
    assert [planned.number for planned in made.cases.values()] == [1, 2]
    assert made.trainings == 2


@pytest.mark.parametrize(("tier", "repeats"), [("smoke", 1), ("standard", 3), ("full", 3)])
def test_the_tier_decides_how_often_a_case_is_trained(tier: Any, repeats: int) -> None:
    """Unless --cnnperf-repeats does."""
    (planned,) = make_plan([DIGITS], _settings(), tier).cases.values()
    assert planned.repeats == repeats
    (planned,) = make_plan([DIGITS], _settings(repeats=5, seed=7), tier).cases.values()
    assert list(planned.seeds) == [7, 8, 9, 10, 11]


def test_case_without_data_is_planned_with_its_problem(tmp_path: Path) -> None:
    """Its problem is kept for the test that asks for it; it costs no training."""
    made = make_plan([MNIST, DIGITS], _settings(data_dir=tmp_path), "standard")
    problem = made.cases[MNIST].problem
    assert problem is not None
    assert problem.kind == "data"
    assert f"cnnperf data mnist --data-dir {tmp_path}" in problem.message
    assert [planned.id for planned in made.runnable] == [DIGITS]
    assert made.trainings == 3


def test_files_of_each_data_set_are_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checksums of one data set for five cases would be read five times."""
    looked: list[str] = []

    def look(spec: Any, *arguments: Any, **options: Any) -> Any:
        looked.append(spec.name)
        return check_files(spec, *arguments, **options)

    monkeypatch.setattr(plan_module, "check_files", look)
    ids = [MNIST, "vgg16-mnist-224-eager", DIGITS, "resnet34-mnist-224-eager", SAMPLE]
    make_plan(ids, _settings(), "full")
    assert looked == ["mnist", "digits"]


def test_unknown_case_is_an_error() -> None:
    """With the nearest that there is."""
    with pytest.raises(UsageError, match=f"similar ones: {DIGITS}, "):
        make_plan(["modified_vgg-digit-28-eager"], _settings(), "smoke")


def test_plan_of_no_cases_is_empty() -> None:
    """As after -k with no match."""
    assert make_plan([], _settings(), "smoke").trainings == 0
    assert Plan().runnable == []


# --- shortened ----------------------------------------------------------------------------------


def test_default_options_leave_a_case_unchanged() -> None:
    """Nothing is changed and nothing marked."""
    case = get_case(DIGITS)
    assert plan_case(case, _settings()).model_dump(include=set(Case.model_fields)) == (
        case.model_dump()
    )
    assert not make_plan([DIGITS], _settings(), "smoke").cases[DIGITS].shortened


def test_fewer_epochs_change_the_recipe_and_mark_the_case() -> None:
    """The id stays: it is the case that was asked for."""
    planned = make_plan([DIGITS], _settings(epochs=2), "smoke").cases[DIGITS]
    assert planned.shortened
    assert planned.id == DIGITS
    assert planned.recipe == get_case(DIGITS).recipe.model_copy(update={"epochs": 2})


@pytest.mark.parametrize(
    ("case_id", "limit", "steps"), [(DIGITS, 7, 7), (SAMPLE, 2, 2), (SAMPLE, 99, 4)]
)
def test_limit_of_steps_never_lengthens_a_sample(case_id: str, limit: int, steps: int) -> None:
    """A sample of 4 steps stays one of 4 where the limit is 99."""
    case = plan_case(get_case(case_id), _settings(limit_steps=limit))
    assert case.recipe.max_steps == steps
    assert case.recipe.is_sample


@pytest.mark.parametrize(
    ("case_id", "compiled", "precision"),
    [
        ("modified_vgg-mnist-28-fast", "off", "float32"),
        ("modified_vgg-mnist-28-eager", "auto", "auto"),
        ("modified_vgg-mnist-28-batch512-fast-bfloat16_compiled", "on", "bfloat16"),
    ],
)
def test_compile_and_precision_apply_to_fast_but_not_to_a_sweep(
    case_id: str, compiled: str, precision: str
) -> None:
    """--cnnperf-compile=off --cnnperf-precision=float32; ids stay, and nothing is shortened."""
    settings = _settings(compile="off", precision="float32")
    planned = make_plan([case_id], settings, "full").cases[case_id]
    assert planned.id == case_id
    assert (planned.compile, planned.precision) == (compiled, precision)
    assert not planned.shortened


FAST = "modified_vgg-mnist-28-fast"


@pytest.mark.parametrize(
    ("case_id", "asked", "compiled", "precision"),
    [
        (FAST, {}, "off", "float32"),
        (FAST, {"compile": "on", "precision": "bfloat16"}, "on", "bfloat16"),
        (FAST, {"precision": "bfloat16"}, "off", "bfloat16"),
        ("modified_vgg-mnist-28-eager", {}, "auto", "auto"),
        ("modified_vgg-mnist-28-batch512-fast-bfloat16_compiled", {}, "on", "bfloat16"),
    ],
)
def test_deterministic_run_replaces_auto(
    case_id: str, asked: dict[str, str], compiled: str, precision: str
) -> None:
    """What is asked for explicitly, by an option or by the case itself, is taken all the same."""
    case = plan_case(get_case(case_id), _settings(deterministic=True, **asked))
    assert (case.compile, case.precision) == (compiled, precision)
    assert case.id == case_id
    assert case.recipe == get_case(case_id).recipe


# --- the estimate -------------------------------------------------------------------------------


def _planned(case: Case | None = None, /, **fields: Any) -> PlannedCase:
    names = PlannedCase.model_fields.keys() - Case.model_fields.keys()
    planned = {name: fields.pop(name) for name in names & fields.keys()}
    return PlannedCase(**dict(case or example_case(**fields)), **planned)


def _estimate(
    *planned: PlannedCase, flops: float | None = 1e9, peaks: dict[str, float] | None = None
) -> float | None:
    plan = Plan(cases={str(number): each for number, each in enumerate(planned)})
    facts = [ModelFacts(case_id=each.id, training_flops_per_image=flops) for each in planned]
    hardware = {"matmul_flops_per_second": {"float32": 1e13} if peaks is None else peaks}
    probe = ProbeResult(device="cuda", environment=example_environment(**hardware), models=facts)
    return estimate_seconds(plan, probe)


def _seconds(*planned: PlannedCase, **known: Any) -> float:
    seconds = _estimate(*planned, **known)
    assert seconds is not None
    return seconds


def test_estimate_of_a_sample_is_startup_steps_and_arithmetic() -> None:
    """Worked out by hand: 4 steps of 8 images of 1 GFLOP at 40 % of 1 TFLOP/s are 80 ms."""
    seconds = _seconds(_planned(max_steps=4, batch_size=8), peaks={"float32": 1e12})
    assert seconds == pytest.approx(STARTUP_SECONDS + 4 * STEP_OVERHEAD_SECONDS + 0.08)


def test_estimate_of_a_full_training_includes_validation() -> None:
    """375 steps of 128 images, ten times, and a twelfth more, at 40 % of 10 TFLOP/s: 130 s."""
    steps = 10 * 375
    arithmetic = steps * 128 * 1e9 * 13 / 12 / (0.4 * 1e13)
    assert arithmetic == pytest.approx(130)
    assert _seconds(_planned()) == pytest.approx(
        STARTUP_SECONDS + steps * STEP_OVERHEAD_SECONDS + 130
    )


@pytest.mark.parametrize(
    ("more", "less"),
    [
        ({"repeats": 4}, {"repeats": 3}),
        ({"epochs": 3}, {"epochs": 2}),
        ({"max_steps": 20}, {"max_steps": 10}),
        ({}, {"max_steps": 10}),
    ],
)
def test_estimate_grows_with_the_work(more: dict[str, int], less: dict[str, int]) -> None:
    """Repeats, epochs and steps."""
    assert _seconds(_planned(**more)) > _seconds(_planned(**less))


def test_estimate_falls_with_a_faster_device_and_a_smaller_model() -> None:
    """And every case adds to the whole."""
    one = _seconds(_planned())
    assert _seconds(_planned(), peaks={"float32": 2e13}) < one
    assert _seconds(_planned(), peaks={"float32": 1e13, "tf32": 8e13}) < one
    assert _seconds(_planned(), flops=5e8) < one
    assert _seconds(_planned(), _planned()) == pytest.approx(2 * one)


def test_estimate_is_none_without_model_cost_or_peak() -> None:
    """None, not a guess; a plan of nothing takes no time."""
    assert _estimate(_planned(), flops=None) is None
    assert _estimate(_planned(), peaks={}) is None
    probe = ProbeResult(device="cpu", environment=Environment())
    assert estimate_seconds(Plan(cases={"a": _planned()}), probe) is None
    assert estimate_seconds(Plan(), probe) == 0


# --- the digest ---------------------------------------------------------------------------------

DETERMINISTIC = example_environment().settings.model_copy(update={"deterministic_algorithms": True})


def _digest(
    planned: PlannedCase | None = None,
    environment: Environment | None = None,
    device: str = "cuda",
    model_sha256: str = "a",
) -> str:
    environment = environment or example_environment()
    planned = planned or _planned()
    models = [ModelFacts(case_id=planned.id, sha256=model_sha256)]
    return plan_digest(planned, ProbeResult(device=device, environment=environment, models=models))


def _changed(**parts: Any) -> Environment:
    return example_environment().model_copy(update=parts)


def _on_card(**fields: Any) -> Environment:
    """The same machine with another card of the same kind."""
    gpu = example_environment().hardware.gpu
    assert gpu is not None
    return example_environment(gpu=gpu.model_copy(update=fields))


@pytest.mark.parametrize(
    "digest",
    [
        lambda: _digest(_planned(epochs=11)),
        lambda: _digest(model_sha256="b"),
        lambda: _digest(_planned(model="vgg16")),
        lambda: _digest(_planned(dataset="cifar10")),
        lambda: _digest(_planned(resolution=32)),
        lambda: _digest(device="cpu"),
        lambda: _digest(environment=example_environment(cpu_model="another")),
        lambda: _digest(environment=example_environment(gpu=None)),
        lambda: _digest(environment=_changed(software=Software(torch="2.16.0"))),
        lambda: _digest(environment=_changed(software=Software(cnnperf_commit="abc"))),
        lambda: _digest(environment=_changed(settings=Settings(tf32_matmul=True))),
        lambda: _digest(environment=_changed(settings=DETERMINISTIC)),
        lambda: _digest(_planned(shortened=True)),
    ],
)
def test_change_that_affects_a_result_changes_the_digest(digest: Callable[[], str]) -> None:
    """Such a repeat is not taken over from a journal."""
    assert digest() != _digest()


@pytest.mark.parametrize(
    "digest",
    [
        lambda: _digest(environment=example_environment(matmul_flops_per_second={"float32": 1.0})),
        lambda: _digest(environment=example_environment(matmul_flops_per_second=None)),
        lambda: _digest(environment=example_environment(host="node8")),
        lambda: _digest(environment=_on_card(index=3, pcie_address="0000:1b:00.0")),
        lambda: _digest(_planned(repeats=5)),
        lambda: _digest(
            _planned(
                example_case().model_copy(update={"tiers": ("full",)}), number=7, first_seed=3
            )
        ),
    ],
)  # fmt: skip
def test_change_that_affects_no_result_keeps_the_digest(digest: Callable[[], str]) -> None:
    """A peak measured anew, another card of the kind, a case's number, more repeats, a tier."""
    assert digest() == _digest()


def test_digest_is_equal_after_reading_the_environment_from_a_file() -> None:
    """It is compared with one that another run wrote into its journal."""
    read = Environment.model_validate_json(example_environment().model_dump_json())
    assert _digest(environment=read) == _digest()
    assert len(_digest()) == 16
