"""The record: what it holds, what a file must hold, and what makes two cases comparable."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from pydantic import ValidationError

from cnnperf.errors import UsageError
from cnnperf.metrics import METRICS
from cnnperf.record import (
    SCHEMA_VERSION,
    CaseError,
    EpochResult,
    Metrics,
    Record,
    RecordedRecipe,
    json_schema,
    load_record,
    now,
)
from cnnperf.specs import Augmentation, Recipe
from tests.examples import (
    example_case_record,
    example_record,
    failed_case_record,
    skipped_case_record,
    write_record,
)
from tests.strategies import records

STORED = Path(__file__).parent / "records" / "v1.json"
"""Written by hand when version 1 was the latest; it must load for ever."""

# --- round trip -----------------------------------------------------------------------------


@given(record=records)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
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


# --- a file that is none ------------------------------------------------------------------------


def _complaint(path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        load_record(path)
    text = str(caught.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    return text


def test_what_is_missing_or_a_folder_is_named_with_the_systems_reason(tmp_path: Path) -> None:
    """As people know it from other tools."""
    assert _complaint(tmp_path / "none.json").endswith("cannot be read: No such file or directory")
    assert _complaint(tmp_path).endswith("cannot be read: Is a directory")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is not valid JSON (line 1, column 1: Expecting value)"),
        (b'{\n "cnnperf": {,}\n}', "is not valid JSON (line 2, column 14"),
        (b"\x89PNG\r\n\x1a\n\x00", "is not a JSON text file"),
        (b"[" * 200_000, "is not a JSON text file: "),
        (b'{"cnnperf": ' + b"1" * 5000 + b"}", "cannot be read: Exceeds the limit"),
    ],
)
def test_what_is_not_json_says_where(tmp_path: Path, content: bytes, complaint: str) -> None:
    """Line and column where there are some; never a traceback."""
    file = tmp_path / "run.json"
    file.write_bytes(content)
    assert complaint in _complaint(file)


@pytest.mark.parametrize("depth", [100, 300, 900, 950, 990, 1000, 5000])
def test_deep_nesting_inside_a_record_is_one_sentence(tmp_path: Path, depth: int) -> None:
    """Whether or not it is deeper than Python can parse, show or compare."""
    file = tmp_path / "run.json"
    file.write_text('{"cnnperf": {"cases": ' + "[" * depth + "]" * depth + "}}")
    assert len(_complaint(file)) < 400 + len(str(file))


@pytest.mark.parametrize(
    "content", ["[]", "3", "null", '"text"', '{"machine_info": {}, "benchmarks": [{"name": "x"}]}']
)
def test_a_file_without_a_record_says_what_would_have_one(tmp_path: Path, content: str) -> None:
    """Such as pytest-benchmark's file, written where cnnperf is not installed."""
    file = tmp_path / "run.json"
    file.write_text(content)
    text = _complaint(file)
    assert "holds no key 'cnnperf'" in text
    assert "pytest benchmarks --benchmark-json" in text


@pytest.mark.parametrize("body", [[], None, 3, "text"])
def test_a_record_that_is_no_object_is_named_as_such(tmp_path: Path, body: object) -> None:
    """The field is the record itself."""
    text = _complaint(write_record(tmp_path / "run.json", body))
    assert ": cnnperf: Input should be a valid dictionary" in text


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        ("tier", "huge", "cnnperf.tier: Input should be 'smoke', 'standard' or 'full'"),
        ("created", "yesterday", "cnnperf.created: Input should be a valid datetime"),
        ("created", "2026-01-01T00:00:00", "cnnperf.created: Input should have timezone info"),
        ("schema_version", 0, "cnnperf.schema_version: Input should be 1, found 0"),
        ("cases", {}, "cnnperf.cases: Input should be a valid list, found {}"),
        ("cases.0.outcome", "won", "cnnperf.cases.0.outcome: Input should be 'passed', 'failed'"),
        (
            "cases.0.repeats.0.metrics.train_seconds",
            "fast",
            "cnnperf.cases.0.repeats.0.metrics.train_seconds: Input should be a valid number, "
            "unable to parse string as a number, found 'fast'",
        ),
        (
            "cases.0.repeats.0.metrics.test_accuracy",
            99.0,
            "metrics.test_accuracy: Input should be less than or equal to 1, found 99.0",
        ),
        ("environment.hardware.gpu", "H200", "cnnperf.environment.hardware.gpu: Input should be"),
        ("cases.0.repeats.0.metrics", None, "metrics: Input should be a valid dictionary"),
    ],
)
def test_a_wrong_field_is_named_with_what_was_found_and_expected(
    tmp_path: Path, path: str, value: object, complaint: str
) -> None:
    """File, field, expectation, finding: all in one sentence."""
    body = example_record().model_dump(mode="json")
    *parents, last = path.split(".")
    place: Any = body
    for parent in parents:
        place = place[int(parent) if parent.isdigit() else parent]
    place[last] = value
    assert complaint in _complaint(write_record(tmp_path / "run.json", body))


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    """As one that is required."""
    body = example_record().model_dump(mode="json")
    del body["cases"][0]["repeats"][0]["metrics"]["train_seconds"]
    text = _complaint(write_record(tmp_path / "run.json", body))
    assert "cases.0.repeats.0.metrics.train_seconds: Field required" in text


def test_several_wrong_fields_are_counted(tmp_path: Path) -> None:
    """The first is described; a reader knows that there is more to mend."""
    body = {**example_record().model_dump(mode="json"), "tier": 3, "interrupted": "perhaps"}
    assert _complaint(write_record(tmp_path / "run.json", body)).endswith("(and 1 more)")


def test_hostile_text_in_a_file_cannot_steer_the_terminal(tmp_path: Path) -> None:
    """What is found is quoted, cut and free of escape sequences."""
    body = {**example_record().model_dump(mode="json"), "tier": "\x1b]0;owned\x07" + "x" * 10_000}
    text = _complaint(write_record(tmp_path / "run.json", body))
    assert text.isprintable()
    assert len(text) < 400 + len(str(tmp_path))


def test_nan_in_a_file_is_refused(tmp_path: Path) -> None:
    """Python's JSON reads it, a record does not."""
    text = example_record().model_dump_json().replace('"train_seconds":20.0', '"train_seconds":NaN')
    file = tmp_path / "run.json"
    file.write_text('{"cnnperf": ' + text + "}")
    assert "train_seconds: Input should be a finite number, found nan" in _complaint(file)


def test_a_newer_schema_asks_for_an_update(tmp_path: Path) -> None:
    """Whatever else is new in it: nothing else is looked at."""
    file = write_record(tmp_path / "run.json", {"schema_version": 7, "tier": "galactic"})
    assert _complaint(file) == (
        f"{file} has schema version 7, this cnnperf reads up to {SCHEMA_VERSION}: update cnnperf"
    )


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
