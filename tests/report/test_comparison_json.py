"""The comparison as JSON."""

from __future__ import annotations

import json
import math
from typing import Any

import jsonschema
from hypothesis import given

from cnnperf.compare.verdicts import Comparison
from cnnperf.report.formats.comparison import to_json
from tests.compare.comparisons import (
    example_accuracy,
    example_case,
    example_comparison,
    example_metric,
    hostile_comparison,
    hostile_text,
)


def loaded(comparison: Comparison) -> dict[str, Any]:
    """The JSON's content, for which only JSON's own numbers will do."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    content: dict[str, Any] = json.loads(to_json(comparison), parse_constant=refuse)
    return content


def test_json_matches_the_models_schema() -> None:
    schema = Comparison.model_json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(loaded(example_comparison()), schema)


def test_schema_refuses_another_shape() -> None:
    """So that the test above can fail."""
    content = loaded(example_comparison())
    content["cases"][0]["metrics"]["train_seconds"]["verdict"] = "fine"
    validator = jsonschema.Draft202012Validator(Comparison.model_json_schema())
    assert not validator.is_valid(content)


def test_json_has_the_documented_shape() -> None:
    content = loaded(example_comparison())
    assert (content["verdict"], content["exit_code"]) == ("regression", 1)
    first = content["cases"][0]
    assert (first["id"], first["verdict"]) == ("modified_vgg-mnist-28-eager", "slower")
    metric = first["metrics"]["train_seconds"]
    expected = {
        "verdict": "slower",
        "base": 20.0,
        "new": 21.04,
        "n_base": 5,
        "n_new": 5,
        "ratio": 1.052,
        "low": 1.031,
        "high": 1.074,
        "threshold": 0.03,
    }
    assert expected.items() <= metric.items()
    assert content["environment_changes"][0] == {
        "field": "software.torch",
        "base": "2.14.1",
        "new": "2.15.0",
        "forbids": False,
    }


def test_a_metric_has_a_ratio_or_a_difference_and_never_both() -> None:
    metrics = loaded(example_comparison())["cases"][0]["metrics"]
    assert "difference" not in metrics["train_seconds"]
    assert "ratio" not in metrics["test_accuracy"]
    assert metrics["test_accuracy"]["difference"] == -0.0031


def test_missing_estimate_is_null() -> None:
    nothing = {"ratio": None, "difference": None, "low": None, "high": None}
    metrics = {
        "train_seconds": example_metric("not comparable", **nothing),
        "test_accuracy": example_accuracy("not comparable", **nothing),
    }
    found = loaded(example_comparison(example_case(metrics=metrics)))["cases"][0]["metrics"]
    assert found["train_seconds"]["ratio"] is None
    assert "difference" not in found["train_seconds"]
    assert found["test_accuracy"]["difference"] is None
    assert "ratio" not in found["test_accuracy"]


def test_infinite_figure_is_null() -> None:
    metric = example_metric(ratio=math.inf, low=-math.inf, high=math.inf, base=math.nan)
    found = loaded(example_comparison(example_case(metrics={"mfu": metric})))
    shown = found["cases"][0]["metrics"]["mfu"]
    assert [shown[name] for name in ("ratio", "low", "high", "base")] == [None] * 4


@given(hostile_text())
def test_any_text_comes_back_as_it_was(text: str) -> None:
    content = loaded(hostile_comparison(text))
    assert content["cases"][0]["id"] == text
    assert content["notes"] == [text]
