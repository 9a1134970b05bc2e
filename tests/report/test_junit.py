"""The comparison as JUnit XML, read by a library for such files and held to a schema."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from pathlib import Path

import junitparser
import pytest
import xmlschema
from hypothesis import given

from cnnperf.compare.verdicts import SEVERITY, Comparison, Verdict
from cnnperf.report.formats.ci import to_junit
from tests.compare.comparisons import (
    HOSTILE,
    example_case,
    example_comparison,
    example_metric,
    hostile_comparison,
    hostile_text,
)


@cache
def schema() -> xmlschema.XMLSchema:
    return xmlschema.XMLSchema(Path(__file__).with_name("junit.xsd"))


def suite_of(comparison: Comparison) -> junitparser.TestSuite:
    """The suite, of a file that is well-formed and valid."""
    text = to_junit(comparison)
    schema().validate(text)
    (suite,) = junitparser.JUnitXml.fromstring(text.encode())
    return suite


def results(comparison: Comparison) -> dict[tuple[str, str], list[str]]:
    """The kinds of results by case and metric; none where it passed."""
    return {
        (case.classname, case.name): [type(result).__name__ for result in case.result]
        for case in suite_of(comparison)
    }


def test_there_is_one_test_case_per_case_and_metric() -> None:
    assert results(example_comparison()) == {
        ("vgg16-mnist-224-eager", "case"): ["Error"],
        ("modified_resnet-mnist-28-eager", "case"): ["Error"],
        ("modified_vgg-mnist-28-eager", "train_seconds"): ["Failure"],
        ("modified_vgg-cifar10-28-eager", "peak_memory_bytes"): [],
        ("resnet34-mnist-224-eager", "case"): ["Skipped"],
        ("modified_vgg-mnist-28-eager", "test_accuracy"): ["Skipped"],
        ("modified_vgg-cifar10-28-eager", "test_accuracy"): ["Skipped"],
        ("modified_vgg-cifar10-28-eager", "train_seconds"): [],
        ("modified_vgg-mnist-28-eager", "images_per_second"): [],
    }


GATING: dict[Verdict, list[str]] = {
    "failed": ["Error"],
    "missing": ["Error"],
    "worse": ["Failure"],
    "slower": ["Failure"],
    "not comparable": ["Skipped"],
    "inconclusive": ["Skipped"],
    "shortened": ["Skipped"],
    "faster": [],
    "better": [],
    "same": [],
}


@pytest.mark.parametrize("verdict", SEVERITY)
def test_each_verdict_has_its_result(verdict: Verdict) -> None:
    case = example_case("a", {"mfu": example_metric(verdict)})
    assert results(example_comparison(case)) == {("a", "mfu"): GATING[verdict]}


@pytest.mark.parametrize("verdict", SEVERITY)
def test_non_gating_verdict_never_fails(verdict: Verdict) -> None:
    case = example_case("a", {"mfu": example_metric(verdict, gates=False)})
    (found,) = results(example_comparison(case)).values()
    assert found in ([], ["Skipped"])


def test_the_counts_are_those_of_the_results() -> None:
    suite = suite_of(example_comparison())
    counted = (suite.tests, suite.failures, suite.errors, suite.skipped)
    assert counted == (9, 1, 2, 3)
    suite.update_statistics()
    assert (suite.tests, suite.failures, suite.errors, suite.skipped) == counted


DISTURBED = (
    "1 repeat of base, 2 of new (throttled, busy_cpu): "
    "kept (cnnperf compare --drop-flagged drops them)"
)


def test_failure_message_has_figures_and_notes() -> None:
    (case,) = [case for case in suite_of(example_comparison()) if case.name == "train_seconds"
               and case.result]  # fmt: skip
    (failure,) = case.result
    assert failure.type == "slower"
    assert (
        failure.message
        == failure.text
        == (
            "slower: base 20.0 s (n=5), new 21.0 s (n=5); ratio 1.052 (1.031 to 1.074); "
            f"disturbed: {DISTURBED}"
        )
    )


def test_skipped_case_has_its_reason() -> None:
    told = {case.classname: case.result[0].message for case in suite_of(example_comparison())
            if case.name == "case"}  # fmt: skip
    assert told["resnet34-mnist-224-eager"] == "not comparable: the recipes differ"


def test_the_figures_are_properties() -> None:
    properties = {each.name: each.value for each in suite_of(example_comparison()).properties()}
    assert properties["verdict"] == "regression"
    timed = "modified_vgg-mnist-28-eager/train_seconds"
    assert properties["environment/software.torch/base"] == "2.14.1"
    assert properties["environment/hardware.gpu.name/new"] == "NVIDIA H200"
    figures = {name: properties[f"{timed}/{name}"] for name in ("ratio", "low", "high", "n_base")}
    assert figures == {"ratio": "1.052", "low": "1.031", "high": "1.074", "n_base": "5"}
    assert f"{timed}/difference" not in properties
    assert properties["modified_vgg-mnist-28-eager/test_accuracy/difference"] == "-0.0031"


def test_notes_and_environment_changes_are_the_suite_output() -> None:
    output = suite_of(example_comparison()).child(junitparser.SystemOut)
    assert output.text.splitlines() == [
        "regression: 1 failed, 1 missing, 1 slower of 5 cases",
        "software.torch: base 2.14.1, new 2.15.0",
        "hardware.gpu.name: base NVIDIA A100, new NVIDIA H200",
        f"disturbed: modified_vgg-mnist-28-eager: {DISTURBED}",
        "numerics: modified_vgg-mnist-28-eager: seed 0: losses of 100 steps identical",
        "only in new: resnet18-mnist-28-eager",
        "new was interrupted: not every planned training was done",
    ]


def test_the_time_is_written_without_a_zone() -> None:
    eastern = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=2)))
    assert 'timestamp="2026-01-02T01:04:05"' in to_junit(example_comparison(), created=eastern)
    written = datetime.fromisoformat(suite_of(example_comparison()).timestamp)
    assert abs(datetime.now(UTC) - written.replace(tzinfo=UTC)) < timedelta(minutes=1)


def test_comparison_without_cases_is_valid() -> None:
    assert results(example_comparison().model_copy(update={"cases": ()})) == {}


@given(hostile_text())
def test_any_text_makes_a_valid_file_with_the_same_results(text: str) -> None:
    """Characters that XML forbids are written as escapes."""
    suite = suite_of(hostile_comparison(text))
    assert [[type(result).__name__ for result in case.result] for case in suite] == [
        ["Error"],
        ["Failure"],
        ["Skipped"],
        [],
    ]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_known_trick_makes_an_invalid_file(text: str) -> None:
    assert len(list(suite_of(hostile_comparison(text)))) == 4


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("</properties>", "</properties><testsuite/>"),
        (' type="slower"', ""),
        ("<system-err />", ""),
        ('name="case"', ""),
        ('errors="2"', 'errors="two"'),
        ("<skipped", "<ignored"),
    ],
)
def test_schema_refuses_broken_files(right: str, wrong: str) -> None:
    """So that the tests above can fail."""
    text = to_junit(example_comparison())
    assert right in text
    broken = text.replace(right, wrong).replace("</skipped>", "</ignored>" if "ign" in wrong else
                                                "</skipped>")  # fmt: skip
    assert not schema().is_valid(broken)
