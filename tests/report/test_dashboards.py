"""One record as other people's dashboards read it."""

from __future__ import annotations

import json

import jsonschema
import pytest

from cnnperf.errors import UsageError
from cnnperf.record.metrics import METRICS
from cnnperf.record.schema import Record
from cnnperf.report.formats.dashboards import Target, export
from tests.examples import (
    example_case_record,
    example_record,
    example_repeat,
    failed_case_record,
)

CASE = "modified_vgg-mnist-28-eager"

CUSTOM_SCHEMA = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "required": ["name", "unit", "value"],
        "properties": {
            "name": {"type": "string", "minLength": 1},
            "unit": {"type": "string"},
            "value": {"type": "number"},
            "range": {"type": "string", "pattern": "^± [0-9]"},
            "extra": {"type": "string"},
        },
        "additionalProperties": False,
    },
}
"""What github-action-benchmark documents of its input; it scales a range that starts with ±."""

BENCHER_SCHEMA = {
    "type": "object",
    "minProperties": 1,
    "additionalProperties": {
        "type": "object",
        "propertyNames": {"maxLength": 64},
        "additionalProperties": {
            "type": "object",
            "required": ["value"],
            "properties": {
                name: {"type": "number"} for name in ("value", "lower_value", "upper_value")
            },
            "additionalProperties": False,
        },
    },
    "propertyNames": {"maxLength": 1024},
}
"""What Bencher documents of its format and of the lengths of names."""

SCHEMAS: dict[Target, dict[str, object]] = {
    "customSmallerIsBetter": CUSTOM_SCHEMA,
    "customBiggerIsBetter": CUSTOM_SCHEMA,
    "bencher": BENCHER_SCHEMA,
}


def three_repeats(**fields: object) -> Record:
    """A case of three trainings in 20, 21 and 26 seconds."""
    repeats = [example_repeat(seed, seconds) for seed, seconds in enumerate((21.0, 20.0, 26.0))]
    return example_record(example_case_record(repeats=repeats, **fields))


def names(record: Record, target: Target) -> set[str]:
    """Of the metrics that go out."""
    found = export(record, target)
    if isinstance(found, dict):
        return {name for measures in found.values() for name in measures}
    return {entry["name"].rpartition("/")[2] for entry in found}


@pytest.mark.parametrize("target", SCHEMAS)
def test_an_export_is_what_its_reader_documents(target: Target) -> None:
    found = json.loads(json.dumps(export(three_repeats(), target), allow_nan=False))
    jsonschema.validate(found, SCHEMAS[target])


def test_a_metric_goes_where_its_better_direction_says() -> None:
    smaller, bigger = (names(three_repeats(), f"custom{way}IsBetter") for way in WAYS)
    assert {"train_seconds", "peak_memory_bytes"} <= smaller
    assert {"test_accuracy", "images_per_second", "mfu"} <= bigger
    assert {METRICS[name].better for name in smaller} == {"lower"}
    assert {METRICS[name].better for name in bigger} == {"higher"}


WAYS = ("Smaller", "Bigger")


def test_a_metric_without_a_direction_goes_to_bencher_alone() -> None:
    record = example_record(
        example_case_record(repeats=[example_repeat(training_flops_per_image=4e11)])
    )
    assert "training_flops_per_image" in names(record, "bencher")
    for way in WAYS:
        assert "training_flops_per_image" not in names(record, f"custom{way}IsBetter")


def test_a_value_is_the_median_and_its_range_the_repeats() -> None:
    found = export(three_repeats(), "customSmallerIsBetter")
    assert isinstance(found, list)
    (timed,) = [entry for entry in found if entry["name"] == f"{CASE}/train_seconds"]
    assert (timed["value"], timed["unit"], timed["range"]) == (21.0, "s", "± 3")
    assert timed["extra"].startswith("median of n=3, from 20 to 26\n")


def test_bencher_gets_the_least_and_the_greatest() -> None:
    found = export(three_repeats(), "bencher")
    assert isinstance(found, dict)
    assert found[CASE]["train_seconds"] == {
        "value": 21.0,
        "lower_value": 20.0,
        "upper_value": 26.0,
    }


@pytest.mark.parametrize("target", SCHEMAS)
def test_a_case_that_failed_or_was_skipped_is_left_out(target: Target) -> None:
    skipped = example_case_record(id="half", outcome="skipped")
    record = example_record(example_case_record(), failed_case_record(), skipped)
    assert export(record, target) == export(example_record(example_case_record()), target)


def test_a_shortened_case_keeps_what_does_not_depend_on_its_length() -> None:
    repeats = [example_repeat(**dict.fromkeys(METRICS, 1))]
    everything, kept = (
        names(example_record(example_case_record(repeats=repeats, shortened=short)), "bencher")
        for short in (False, True)
    )
    assert everything == set(METRICS)
    assert everything - kept == {
        "train_seconds",
        "outside_train_seconds",
        "time_to_accuracy_seconds",
        "test_accuracy",
        "test_f1_macro",
        "test_loss",
        "val_accuracy",
        "energy_joules",
    }


@pytest.mark.parametrize("target", SCHEMAS)
def test_a_record_without_results_is_an_error(target: Target) -> None:
    """Both readers refuse a file without any."""
    with pytest.raises(UsageError, match=f"nothing to export to {target}"):
        export(example_record(failed_case_record()), target)


def test_hostile_case_id_is_escaped_in_exports() -> None:
    record = example_record(example_case_record(id="a\x1b[31m\nb"))
    found = export(record, "bencher")
    assert list(found) == ["a\\x1b[31m b"]
