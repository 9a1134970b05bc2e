"""The record: what it holds, how it outlives other versions, and its schema."""

from __future__ import annotations

import json
import math
import statistics
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from cnnperf.catalog.specs import Augmentation, Recipe
from cnnperf.record.fingerprint import Fingerprint, RecordedRecipe
from cnnperf.record.loading import load_record
from cnnperf.record.metrics import METRICS
from cnnperf.record.schema import (
    SCHEMA_VERSION,
    CaseError,
    EpochResult,
    Inference,
    Metrics,
    Record,
    fingerprint_of,
    json_schema,
    now,
)
from tests.examples import (
    example_case,
    example_case_record,
    example_record,
    example_repeat,
    failed_case_record,
    skipped_case_record,
    write_record,
)
from tests.strategies import fingerprints, records, seconds

STORED = Path(__file__).parents[1] / "records" / "v1.json"
"""Written by hand when version 1 was the latest; it must load for ever. So must the next one."""

STORED_2 = STORED.with_name("v2.json")

# --- round trip -----------------------------------------------------------------------------


@given(record=records)
@settings(max_examples=60)
def test_a_record_survives_the_way_to_a_file_and_back(record: Record, tmp_path: Path) -> None:
    """Nothing is rounded, renamed or lost, whatever the text and the numbers are."""
    file = write_record(tmp_path / "run.json", record.model_dump(mode="json"))
    assert load_record(file) == record
    assert Record.model_validate_json(record.model_dump_json()) == record


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "name", [name for name, metric in METRICS.items() if name != "peak_memory_bytes"]
)
def test_a_metric_is_a_finite_number_or_nothing(name: str, value: float) -> None:
    """NaN must not reach a median, and JSON has no word for it."""
    with pytest.raises(ValidationError):
        Metrics.model_validate({"train_seconds": 1.0, name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("train_seconds", -0.1),
        ("test_accuracy", 1.01),
        ("test_f1_macro", -0.01),
        ("peak_memory_bytes", -1),
        ("peak_memory_bytes", 1.5),
        ("train_seconds", 1e13),
        ("images_per_second", -1e101),
        ("images_per_second", 1e101),
        ("peak_memory_bytes", 2**65),
    ],
)
def test_a_metric_outside_its_range_is_refused(name: str, value: float) -> None:
    """An accuracy of 101 % is a bug, not a result."""
    with pytest.raises(ValidationError):
        Metrics.model_validate({"train_seconds": 1.0, name: value})


def test_a_diverged_epoch_has_no_record() -> None:
    """Its loss is no number: the case fails instead."""
    with pytest.raises(ValidationError):
        EpochResult(epoch=1, train_loss=math.nan, train_seconds=1.0)


def test_a_record_has_the_time_with_its_zone() -> None:
    """With a time zone, to the second; a time without one is refused."""
    assert now().tzinfo is not None
    assert now().microsecond == 0
    assert abs(now() - datetime.now(UTC)) < timedelta(seconds=5)
    with pytest.raises(ValidationError, match="timezone"):
        example_record(created=datetime(2026, 1, 1))


# --- other versions ---------------------------------------------------------------------------


def test_fields_of_newer_versions_are_ignored(tmp_path: Path) -> None:
    """An older cnnperf reads the fields that it has, at every level."""
    record = example_record(failed_case_record())
    body = record.model_dump(mode="json")
    repeat = body["cases"][0]["repeats"][0]
    added: list[dict[str, Any]] = [
        body,
        body["environment"],
        body["environment"]["hardware"]["gpu"],
        body["cases"][0],
        body["cases"][0]["error"],
        repeat,
        repeat["metrics"],
        repeat["epochs"][0],
        repeat["per_class"],
        repeat["state"]["before"]["host"],
    ]
    for place in added:
        place["of_a_later_version"] = {"a": 1}
    assert load_record(write_record(tmp_path / "run.json", body)) == record


def test_what_newer_versions_add_to_an_augmentation_is_ignored() -> None:
    """It is the deepest level of a record, and descriptions elsewhere refuse unknown fields."""
    recipe = Recipe(name="mine", augmentation=Augmentation(rotation_degrees=15))
    content = recipe.model_dump(mode="json")
    content["augmentation"]["of_a_later_version"] = 1
    read = RecordedRecipe.model_validate(content)
    assert read.model_dump() == recipe.model_dump()
    with pytest.raises(ValidationError):
        Recipe.model_validate(content)


def test_a_stored_record_of_version_1_keeps_loading() -> None:
    """A hand-written file, read with every figure where it belongs."""
    record = load_record(STORED)
    assert (record.tier, record.interrupted) == ("standard", False)
    assert record.created == datetime(2026, 1, 2, 2, 4, 5, tzinfo=UTC)
    assert record.environment.hardware.gpu is not None
    assert record.environment.hardware.gpu.name == "NVIDIA H200"
    passed, failed, skipped = record.cases
    assert passed.values("train_seconds") == [20.0, 22.0, 21.0]
    assert passed.median("test_accuracy") == 0.9899
    assert passed.median("mfu") is None
    assert passed.fingerprint is not None
    assert passed.fingerprint.recipe.model_dump() == Recipe(name="report").model_dump()
    assert passed.repeats[0].confusion == [[3, 1], [0, 4]]
    assert passed.repeats[0].epochs[0].val_accuracy == 0.94
    assert passed.repeats[1].warnings[0].kind == "busy_cpu"
    assert failed.error == CaseError(kind="out_of_memory", message="out of memory: 80 GiB", seed=1)
    assert failed.fingerprint is None
    assert skipped.outcome == "skipped"


def test_a_stored_record_of_version_2_keeps_loading() -> None:
    """What version 2 added is where it belongs."""
    (case,) = load_record(STORED_2).cases
    (repeat,) = case.repeats
    assert case.fingerprint is not None
    assert repeat.training is not None
    assert repeat.training.loss == "CrossEntropyLoss(ignore_index=-100, reduction=mean)"
    assert repeat.training.overrides == case.fingerprint.overrides
    assert case.fingerprint.overrides == {
        "optimizer": "SGD(lr=0.1, momentum=0.9)",
        "schedule": "StepLR(gamma=0.1, step_size=30)",
    }
    assert repeat.settings is not None
    assert repeat.settings.cpu_quota_cores == 0.6
    assert repeat.settings.variables == {"CUDA_LAUNCH_BLOCKING": "1"}
    assert repeat.settings.tracers == ("coverage.tracer",)
    assert repeat.state.during is not None
    assert repeat.state.during.cpu_throttled_periods == 523


# --- schema -------------------------------------------------------------------------------------


def _pieces(schema: dict[str, Any]) -> list[dict[str, Any]]:
    return [schema, *schema["$defs"].values()]


def test_the_schema_describes_every_model_and_every_metric() -> None:
    """The schema is JSON, with its version in the title."""
    schema = json.loads(json.dumps(json_schema()))
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["title"] == f"cnnperf record, schema version {SCHEMA_VERSION}"
    assert set(schema["properties"]) == set(Record.model_fields)
    assert set(schema["$defs"]["Metrics"]["properties"]) == set(METRICS)
    kinds = (piece.get("type") for name, piece in schema["$defs"].items() if name != "JsonValue")
    assert set(kinds) == {"object"}


def test_the_schema_accepts_records_and_refuses_a_wrong_one() -> None:
    """jsonschema, which does not use pydantic, validates."""
    jsonschema = pytest.importorskip("jsonschema")
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    record = example_record(example_case_record(), failed_case_record(), skipped_case_record())
    body = record.model_dump(mode="json")
    validator.validate(body)
    for stored in (STORED, STORED_2):
        validator.validate(json.loads(stored.read_text())["cnnperf"])
    body["cases"][0]["repeats"][0]["metrics"]["test_accuracy"] = 99.0
    assert not validator.is_valid(body)


# --- fingerprints -------------------------------------------------------------------------------


def _fingerprint(**changes: Any) -> Fingerprint:
    content = {
        "model_sha256": "a",
        "dataset_sha256": "b",
        "recipe": Recipe(name="report"),
        "resolution": 28,
        "precision": "float32",
    }
    return Fingerprint(**{**content, **changes})


@given(fingerprint=fingerprints)
@settings(max_examples=30)
def test_equal_fingerprints_have_equal_digests(fingerprint: Fingerprint) -> None:
    """Also after the way to a file and back."""
    read = Fingerprint.model_validate_json(fingerprint.model_dump_json())
    assert read.digest == fingerprint.digest
    assert len(fingerprint.digest) == 16


def test_each_change_of_a_training_changes_the_digest() -> None:
    """Each component alone, and each field of the recipe."""
    changed = [
        _fingerprint(model_sha256="c"),
        _fingerprint(model_sha256=None),
        _fingerprint(dataset_sha256="c"),
        _fingerprint(resolution=32),
        _fingerprint(precision="tf32"),
        *(
            _fingerprint(recipe=Recipe(**{"name": "report", **change}))
            for change in (
                {"name": "mine"},
                {"epochs": 11},
                {"batch_size": 64},
                {"learning_rate": 2e-3},
                {"max_steps": 4},
                {"augmentation": Augmentation()},
                {"augmentation": Augmentation(rotation_degrees=15)},
            )
        ),
    ]
    digests = {fingerprint.digest for fingerprint in [_fingerprint(), *changed]}
    assert len(digests) == 1 + len(changed)


def test_exchanged_hashes_of_model_and_data_change_the_digest() -> None:
    """The same two hashes in exchanged places give another digest."""
    one = _fingerprint(model_sha256="a", dataset_sha256="b")
    other = _fingerprint(model_sha256="b", dataset_sha256="a")
    assert one.digest != other.digest


def test_a_repeat_gives_its_case_the_fingerprint() -> None:
    """What it trained, with what and how; its seed and its speed are no part of it."""
    case = example_case(epochs=3)
    one = fingerprint_of(example_repeat(0, 20.0), case)
    assert one == fingerprint_of(example_repeat(1, 30.0), case)
    assert one.recipe.epochs == 3
    assert (one.model_sha256, one.dataset_sha256) == ("a" * 64, "b" * 64)
    assert (one.resolution, one.precision) == (28, "float32")


def test_a_fingerprint_has_the_precision_of_its_repeat() -> None:
    """Trainings in different precisions are not comparable."""
    repeat = example_repeat().model_copy(update={"precision": "tf32"})
    assert fingerprint_of(repeat, example_case()).precision == "tf32"


# --- times --------------------------------------------------------------------------------------


def test_the_time_of_an_infer_case_is_that_of_its_inference() -> None:
    """Measured outside where that is known; its training does not count."""
    repeat = example_repeat(0, 20.0)
    assert repeat.timed_seconds == 20.01
    for outside, expected in ((3.1, 3.1), (None, 3.0)):
        inference = Inference(seconds=3.0, outside_seconds=outside)
        assert repeat.model_copy(update={"inference": inference}).timed_seconds == expected


# --- medians ------------------------------------------------------------------------------------


@given(values=st.lists(seconds, min_size=1, max_size=7))
@settings(max_examples=60)
def test_a_case_has_the_median_of_its_repeats(values: list[float]) -> None:
    """Computed by the standard library."""
    case = example_case_record(
        repeats=[example_repeat(seed, value) for seed, value in enumerate(values)]
    )
    assert case.values("train_seconds") == values
    assert case.median("train_seconds") == statistics.median(values)


def test_repeats_without_a_value_do_not_count() -> None:
    """A median over what was measured; None where nothing was."""
    case = example_case_record(
        repeats=[
            example_repeat(seed, mfu=mfu, energy_joules=None)
            for seed, mfu in enumerate([0.3, None, 0.2, 0.1])
        ]
    )
    assert case.median("mfu") == 0.2
    assert case.median("energy_joules") is None
    assert example_case_record(repeats=[]).median("train_seconds") is None
