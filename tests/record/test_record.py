"""The record: what it holds, how it outlives other versions, and its schema."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from pydantic import ValidationError

from cnnperf.catalog.specs import Augmentation, Recipe
from cnnperf.record.loading import load_record
from cnnperf.record.metrics import METRICS
from cnnperf.record.schema import (
    SCHEMA_VERSION,
    CaseError,
    EpochResult,
    Metrics,
    Record,
    RecordedRecipe,
    json_schema,
    now,
)
from tests.examples import (
    example_case_record,
    example_record,
    failed_case_record,
    skipped_case_record,
    write_record,
)
from tests.strategies import records

STORED = Path(__file__).parents[1] / "records" / "v1.json"
"""Written by hand when version 1 was the latest; it must load for ever."""

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


def test_a_record_knows_when_it_was_made() -> None:
    """With a time zone, to the second; a time without one is refused."""
    assert now().tzinfo is not None
    assert now().microsecond == 0
    assert abs(now() - datetime.now(UTC)) < timedelta(seconds=5)
    with pytest.raises(ValidationError, match="timezone"):
        example_record(created=datetime(2026, 1, 1))


# --- other versions ---------------------------------------------------------------------------


def test_fields_of_newer_versions_are_ignored(tmp_path: Path) -> None:
    """At every level, so that an older cnnperf reads what it knows."""
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


# --- schema -------------------------------------------------------------------------------------


def _pieces(schema: dict[str, Any]) -> list[dict[str, Any]]:
    return [schema, *schema["$defs"].values()]


def test_the_schema_describes_every_model_and_every_metric() -> None:
    """As JSON, with its version in the title."""
    schema = json.loads(json.dumps(json_schema()))
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["title"] == f"cnnperf record, schema version {SCHEMA_VERSION}"
    assert set(schema["properties"]) == set(Record.model_fields)
    assert set(schema["$defs"]["Metrics"]["properties"]) == set(METRICS)
    assert all(piece["type"] == "object" for piece in _pieces(schema))


def test_records_fit_the_schema_and_spoilt_ones_do_not() -> None:
    """Checked by jsonschema, which knows nothing of pydantic."""
    jsonschema = pytest.importorskip("jsonschema")
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    record = example_record(example_case_record(), failed_case_record(), skipped_case_record())
    body = record.model_dump(mode="json")
    validator.validate(body)
    validator.validate(json.loads(STORED.read_text())["cnnperf"])
    body["cases"][0]["repeats"][0]["metrics"]["test_accuracy"] = 99.0
    assert not validator.is_valid(body)
