"""`cnnperf floors`: arithmetic worked out by hand, records beside it, and one real worker."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cnnperf.catalog.registry import get_case
from cnnperf.catalog.specs import Case
from cnnperf.cli import commands as cli
from cnnperf.compare.floors import Measured, case_floors, expected_precision, planned_work
from cnnperf.errors import UsageError
from cnnperf.record.environment import Gpu
from cnnperf.record.fingerprint import Fingerprint, RecordedRecipe
from cnnperf.record.messages import Ceiling, ModelFacts, ProbeJob, ProbeResult, Traffic
from cnnperf.record.schema import Record
from cnnperf.run import floors_inputs
from tests.commands import run_cnnperf, sentence_of
from tests.examples import (
    example_case_record,
    example_environment,
    example_record,
    example_repeat,
    plain_terminal,
    skipped_case_record,
    write_record,
)

FAST, EAGER = "modified_vgg-mnist-28-fast", "modified_vgg-mnist-28-eager"

TRAFFIC = Traffic(
    forward_elements_per_image=100,
    forward_elements_per_pass=1000,
    training_elements_per_image=300,
    training_elements_per_step=3000,
    largest_elements_per_image=50,
)


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    plain_terminal(monkeypatch)


def _steady(best: float, median: float | None = None) -> Ceiling:
    return Ceiling(best=best, median=best if median is None else median, samples=5)


def _probed(*case_ids: str, **fields: Any) -> ProbeResult:
    return ProbeResult(
        **{
            "device": "cuda",
            "environment": example_environment(),
            "models": [
                ModelFacts(
                    case_id=case_id,
                    parameters=1000,
                    forward_flops_per_image=1e6,
                    training_flops_per_image=3e6,
                    traffic=TRAFFIC,
                )
                for case_id in case_ids
            ],
            "matmul_ceilings": {"float32": _steady(5e13), "bfloat16": _steady(8e14)},
            "copy_ceiling": _steady(4e12),
            "cache_bytes": 1000,
            **fields,
        }
    )


def _case_record(case: Case, seconds: tuple[float, ...], precision: str = "bfloat16") -> Any:
    fingerprint = Fingerprint(
        recipe=RecordedRecipe.model_validate(case.recipe.model_dump()),
        resolution=28,
        precision=precision,
    )
    repeats = [
        example_repeat(seed, train_seconds=each, mfu=0.4).model_copy(
            update={"precision": precision}
        )
        for seed, each in enumerate(seconds)
    ]
    return example_case_record(case, repeats, fingerprint=fingerprint)


def _write(path: Path, record: Record) -> Path:
    return write_record(path, record.model_dump(mode="json"))


# --- the arithmetic -----------------------------------------------------------------------------


def test_floors_agree_with_a_calculation_by_hand() -> None:
    """The report's recipe: 10 epochs of 375 steps of 128 images, each validated on 12,000."""
    found = case_floors(get_case(FAST), _probed(FAST))

    per_epoch = 48_000 * 3e6 + 12_000 * 1e6
    assert found.flops_per_epoch == per_epoch
    assert found.flop_floor_seconds == pytest.approx(10 * per_epoch / 8e14)

    image = 28 * 28  # bytes
    per_image, per_step = 300 * 2 + 2 * image, 3000 * 2 + 1000 * (24 + 2)
    assert found.bytes_per_step == 128 * per_image + per_step
    validation = 12_000 * (100 * 2 + image) + 1000 * 2
    total = 480_000 * per_image + 3750 * per_step + 10 * validation
    assert found.byte_floor_seconds == pytest.approx(total / 4e12)
    assert found.bound == "FLOPs"
    assert found.floor_seconds == found.flop_floor_seconds


def test_float32_moves_twice_the_activations_at_its_own_peak() -> None:
    """Images stay bytes, and so does the optimizer's state."""
    found = case_floors(get_case(EAGER), _probed(EAGER))
    per_step = 3000 * 4 + 1000 * (24 + 4)
    assert found.bytes_per_step == 128 * (300 * 4 + 2 * 28 * 28) + per_step
    assert found.precision == "float32"
    assert found.flop_floor_seconds == pytest.approx(10 * (48_000 * 3e6 + 12_000 * 1e6) / 5e13)


@pytest.mark.parametrize(
    ("max_steps", "images", "steps", "validations"),
    [(None, 480_000, 3750, 10), (400, 51_200, 400, 0), (4, 512, 4, 0), (9999, 480_000, 3750, 0)],
)
def test_work_is_what_the_recipe_trains(
    max_steps: int | None, images: int, steps: int, validations: int
) -> None:
    """A sample ends after its steps, and is not validated."""
    case = get_case(FAST)
    recipe = case.recipe.model_copy(update={"max_steps": max_steps})
    work = planned_work(case.model_copy(update={"recipe": recipe}))
    assert (work.images, work.steps, work.validations) == (images, steps, validations)


@pytest.mark.parametrize(
    ("engine", "asked", "bfloat16", "expected"),
    [
        ("fast", "auto", 8e14, "bfloat16"),
        ("fast", "auto", 1.04e14, "tf32"),
        ("fast", "float32", 8e14, "tf32"),
        ("fast", "bfloat16", 1e12, "bfloat16"),
        ("eager", "auto", 8e14, "tf32"),
        ("amp", "auto", 8e14, "bfloat16"),
    ],
)
def test_the_precision_is_the_engines(
    engine: str, asked: str, bfloat16: float, expected: str
) -> None:
    """`fast` takes bfloat16 where that is 5 % faster; plain is TF32 where the device has it."""
    ceilings = {
        "float32": _steady(5e13), "tf32": _steady(1e14), "bfloat16": _steady(bfloat16)
    }  # fmt: skip
    case = get_case(FAST).model_copy(update={"engine": engine, "precision": asked})
    assert expected_precision(case, ceilings) == expected


def test_the_share_is_the_larger_floors() -> None:
    """A floor of 2 s in 4 s measured is a half."""
    probed = _probed(FAST, copy_ceiling=_steady(1e6))
    found = case_floors(
        get_case(FAST), probed, measured=Measured(repeats=3, train_seconds=4000.0, mfu=None)
    )
    assert found.bound == "bytes"
    assert found.byte_floor_seconds is not None
    assert found.share == pytest.approx(found.byte_floor_seconds / 4000)


def test_a_model_that_cannot_be_counted_has_no_floor() -> None:
    """Anyone's model may not work on the meta device; the others are not held up."""
    probed = _probed(models=[ModelFacts(case_id=FAST, parameters=1000)])
    found = case_floors(get_case(FAST), probed)
    assert (found.floor_seconds, found.bound, found.share, found.bytes_per_step) == (None,) * 4


# --- the command --------------------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A worker that answers at once; `answer` has fields of its answer, `job` what it was asked."""
    seen: dict[str, Any] = {"answer": {}}

    def probe(job: ProbeJob) -> ProbeResult:
        seen["job"] = job
        return _probed(*(case.id for case in job.cases), **seen["answer"])

    monkeypatch.setattr(floors_inputs, "probe", probe)
    monkeypatch.setattr(floors_inputs, "missing_packages", list)
    return seen


def _run(*arguments: str) -> Any:
    return CliRunner().invoke(cli.app, ["floors", *arguments])


def _words(text: str) -> str:
    return " ".join(text.split())


def _row(text: str, case_id: str) -> str:
    (line,) = (line for line in text.splitlines() if line.strip().startswith(case_id + " "))
    return _words(line)


def test_the_table_has_ceilings_and_a_row_a_case(asked: dict[str, Any]) -> None:
    """With how steady a ceiling was; without columns for a record that nobody named."""
    asked["answer"] = {
        "matmul_ceilings": {"bfloat16": _steady(8e14, 7.6e14), "float32": _steady(1)}
    }
    done = _run(FAST, EAGER)
    assert done.exit_code == 0, done.output
    text = _words(done.stdout)
    assert "matmul bfloat16: 800 TFLOP/s, best of 5; the median is 5.0 % lower" in text
    assert "copy: 4,000 GB/s read and written, best of 5; the median is 0.0 % lower" in text
    assert _row(done.stdout, FAST).startswith(f"{FAST} bfloat16 156 G 302 KiB 1.95 ms")
    assert "measured" not in text.partition("floors:")[0]
    assert asked["job"].floors


def test_recorded_cases_are_shown_with_their_floors(asked: dict[str, Any], tmp_path: Path) -> None:
    """Medians over the repeats; a case without one is left out."""
    record = example_record(
        _case_record(get_case(FAST), (4.0, 6.0, 5.0)), skipped_case_record(), tier="standard"
    )
    done = _run("--record", str(_write(tmp_path / "run.json", record)), "--format", "json")
    assert done.exit_code == 0, done.output
    (case,) = json.loads(done.stdout)["cases"]
    assert case["id"] == FAST
    measured = {key: case["measured"][key] for key in ("repeats", "train_seconds", "mfu")}
    assert measured == {"repeats": 3, "train_seconds": 5.0, "mfu": 0.4}
    assert case["share"] == pytest.approx(case["flop_floor_seconds"] / 5)


def test_a_shortened_training_has_the_floor_of_what_was_trained(
    asked: dict[str, Any], tmp_path: Path
) -> None:
    """The recipe is the record's, not the registered one; so is the precision."""
    case = get_case(FAST)
    recipe = case.recipe.model_copy(update={"max_steps": 100})
    short = _case_record(case.model_copy(update={"recipe": recipe}), (1.0,), "float32")
    path = _write(tmp_path / "run.json", example_record(short))
    (found,) = json.loads(_run("-r", str(path), "--format=json").stdout)["cases"]
    assert found["precision"] == "float32"
    assert found["flop_floor_seconds"] == pytest.approx(100 * 128 * 3e6 / 5e13)


def test_json_goes_into_a_file_beside_the_table(asked: dict[str, Any], tmp_path: Path) -> None:
    """Of which the folder need not be there yet."""
    output = tmp_path / "new" / "floors.json"
    done = _run(FAST, "-o", str(output))
    assert FAST in done.stdout
    content = json.loads(output.read_text())
    assert content["ceilings"]["copy_bytes_per_second"] == {
        "best": 4e12, "median": 4e12, "samples": 5
    }  # fmt: skip
    assert [case["id"] for case in content["cases"]] == [FAST]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"copy_ceiling": _steady(4e12, 3e12)}, "unsteady: copy:"),
        ({"cache_bytes": 10**6}, f"no strict bound: the byte floor of {FAST}"),
        ({"copy_ceiling": _steady(1e3)}, f"faster than its floor: {FAST}"),
        (
            {"matmul_ceilings": {"float32": _steady(5e13), "bfloat16": _steady(5e14)}},
            f"peak changed: {FAST} (800 TFLOP/s, now 500 TFLOP/s)",
        ),
    ],
)
def test_doubtful_floor_has_a_note(
    asked: dict[str, Any], tmp_path: Path, answer: dict[str, Any], said: str
) -> None:
    """And nothing of the kind where there is no reason."""
    environment = example_environment(matmul_flops_per_second={"bfloat16": 8e14})
    record = example_record(_case_record(get_case(FAST), (5.0,)), environment=environment)
    path = str(_write(tmp_path / "run.json", record))
    assert said not in _words(_run("-r", path).stdout)
    asked["answer"] = answer
    assert said in _words(_run("-r", path).stdout)


@pytest.mark.parametrize(
    ("hardware", "difference"),
    [
        ({"gpu": Gpu(name="NVIDIA L4")}, "GPU NVIDIA L4, not NVIDIA H200"),
        ({"gpu": None}, "GPU —, not NVIDIA H200"),
    ],
)
def test_a_record_of_another_device_is_refused(
    asked: dict[str, Any], tmp_path: Path, hardware: dict[str, Any], difference: str
) -> None:
    """Its ceilings are others."""
    other = example_environment(**hardware)
    record = example_record(_case_record(get_case(FAST), (5.0,)), environment=other)
    done = _run("-r", str(_write(tmp_path / "run.json", record)))
    assert done.exit_code == 2
    assert f"was measured on another machine than this one ({difference})" in done.stderr


def test_a_gpu_is_the_same_in_another_host(asked: dict[str, Any], tmp_path: Path) -> None:
    """A spot instance comes with the processor that is free."""
    other = example_environment(cpu_model="Intel Xeon")
    record = example_record(_case_record(get_case(FAST), (5.0,)), environment=other)
    assert _run("-r", str(_write(tmp_path / "run.json", record))).exit_code == 0


def test_a_case_that_is_in_two_records_is_refused(asked: dict[str, Any], tmp_path: Path) -> None:
    """Which is meant cannot be told."""
    paths = [
        str(_write(tmp_path / name, example_record(_case_record(get_case(FAST), (5.0,)))))
        for name in ("a.json", "b.json")
    ]
    done = _run("-r", paths[0], "-r", paths[1])
    assert done.exit_code == 2
    assert f"{FAST} is in {paths[0]} and in {paths[1]}" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["modified_vgg-mnist-28-fats"], f"similar ones: {FAST}, "),
        ([FAST, "-k", "fast"], "expected ids of cases or -k, not both"),
        (["-k", "alexnet"], "selects no case of tier smoke"),
        (["--tier", "huge"], "--tier: expected one of auto, smoke"),
        (["-r", "nowhere.json"], "nowhere.json"),
    ],
)
def test_bad_usage_is_one_sentence_before_any_measurement(
    tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    """Exit code 2, no traceback."""
    done = run_cnnperf("floors", "--device=cpu", *arguments, cwd=tmp_path)
    assert sentence in sentence_of(done)


def test_several_devices_have_no_floors() -> None:
    """They are left out of what was not asked for by id; by id it is an error."""
    chosen = floors_inputs.choose_cases([], "modified_vgg-mnist", {}, tier="full", device="cpu")
    assert FAST in {case.id for case in chosen}
    assert not any(case.devices for case in chosen)
    divided = "modified_vgg-mnist-28-scaling-fast-2devices"
    with pytest.raises(UsageError, match="has no floors: they are those of one device"):
        floors_inputs.choose_cases([divided], None, {}, tier=None, device="cpu")
