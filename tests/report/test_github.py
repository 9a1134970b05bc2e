"""Workflow annotations, read as GitHub's runner reads them."""

from __future__ import annotations

import re
from typing import NamedTuple

import pytest
from hypothesis import given

from cnnperf.compare.verdicts import Comparison, EnvironmentChange, Verdict
from cnnperf.report.formats.ci import to_github
from tests.compare.comparisons import (
    HOSTILE,
    example_accuracy,
    example_case,
    example_comparison,
    example_metric,
    hostile_comparison,
    hostile_text,
    whole_case,
)


class Command(NamedTuple):
    """A workflow command as the runner understands it."""

    name: str
    properties: dict[str, str]
    message: str


def understood(line: str) -> Command:
    """The documented syntax: `::name key=value,key=value::message`, escapes undone."""
    found = re.match(r"::(?P<name>\w+)(?: (?P<properties>.*?))?::(?P<message>.*)\Z", line)
    assert found is not None, line
    pairs = (pair.partition("=") for pair in found["properties"].split(","))
    properties = {key: _unescaped(value) for key, _, value in pairs}
    return Command(found["name"], properties, _unescaped(found["message"]))


def _unescaped(text: str) -> str:
    for escape, meant in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        text = text.replace(escape, meant)
    return text


def commands(comparison: Comparison) -> list[Command]:
    text = to_github(comparison)
    assert text.endswith("\n")
    lines = re.split(r"\r\n|\r|\n", text[:-1])
    assert all(line.isprintable() for line in lines)
    return [understood(line) for line in lines]


def of_kind(kind: str, comparison: Comparison) -> list[Command]:
    return [command for command in commands(comparison) if command.name == kind]


def test_every_regression_is_an_error_with_its_figures() -> None:
    titles = [command.properties["title"] for command in of_kind("error", example_comparison())]
    assert titles == [
        "failed: case of vgg16-mnist-224-eager",
        "missing: case of modified_resnet-mnist-28-eager",
        "slower: train time of modified_vgg-mnist-28-eager",
    ]
    assert of_kind("error", example_comparison())[2].message == (
        "base 20.0 s (n=5), new 21.0 s (n=5); ratio 1.052 (1.031 to 1.074); "
        "disturbed: 1 repeat of base, 2 of new (throttled, busy_cpu): "
        "kept (cnnperf compare --drop-flagged drops them)"
    )


def test_gating_inconclusive_and_incomparable_verdicts_are_warnings() -> None:
    found = of_kind("warning", example_comparison())
    assert [command.properties["title"] for command in found] == [
        "not comparable: case of resnet34-mnist-224-eager",
        "inconclusive: accuracy of modified_vgg-mnist-28-eager",
    ]
    assert found[1].message.endswith("about 4 repeats per side would settle it")


@pytest.mark.parametrize("fields", [{"gates": False}, {"rules_out_regression": True}])
def test_inconclusive_verdict_that_cannot_hide_a_regression_is_no_warning(
    fields: dict[str, bool],
) -> None:
    case = example_case(metrics={"test_accuracy": example_accuracy(**fields)})
    assert of_kind("warning", example_comparison(case)) == []


def test_summary_improvements_and_non_gating_regressions_are_notices() -> None:
    found = of_kind("notice", example_comparison())
    assert found[0].message == example_comparison().summary
    assert [command.properties["title"] for command in found[1:]] == [
        "environment changes",
        "worse: peak memory of modified_vgg-cifar10-28-eager",
        "faster: train time of modified_vgg-cifar10-28-eager",
    ]


@pytest.mark.parametrize("verdict", ["same", "shortened"])
def test_unchanged_metric_has_no_annotation(verdict: Verdict) -> None:
    case = example_case(metrics={"train_seconds": example_metric(verdict)})
    assert len(commands(example_comparison(case, environment_changes=()))) == 1


def test_environment_changes_are_one_notice() -> None:
    """Ten are shown of a kind, so that it takes one place; the long lists of a CPU are cut."""
    found = of_kind("notice", example_comparison())[1]
    assert found.message == (
        "software.torch 2.14.1 -> 2.15.0; hardware.gpu.name NVIDIA A100 -> NVIDIA H200"
    )
    many = [EnvironmentChange(field=f"software.f{n}", base="1", new="2") for n in range(20)]
    flags = " ".join(f"flag{n}" for n in range(50))
    many[0] = EnvironmentChange(field="hardware.cpu_flags", base=flags, new=f"{flags} more")
    message = of_kind("notice", example_comparison(environment_changes=tuple(many)))[1].message
    assert message.startswith("hardware.cpu_flags ... -> ... more; software.f1 1 -> 2; ")
    assert message.endswith("and 12 more")


def test_the_tenth_annotation_of_a_kind_sums_up_the_rest() -> None:
    cases = [whole_case(f"case{index:02}") for index in range(40)]
    found = of_kind("error", example_comparison(*cases))
    assert len(found) == 10
    assert [command.properties["title"] for command in found[:9]] == [
        f"missing: case of case{index:02}" for index in range(9)
    ]
    assert found[9].properties["title"] == "31 more"
    assert "case09" in found[9].message
    assert found[9].message.endswith("and 11 more")


def test_ten_of_a_kind_are_all_shown() -> None:
    cases = [whole_case(f"case{index}") for index in range(10)]
    found = of_kind("error", example_comparison(*cases))
    assert "case9" in found[9].properties["title"]


def test_a_percent_sign_and_the_marks_of_properties_come_through() -> None:
    found = of_kind("error", example_comparison(whole_case("100%: a,b::c", reason="50%, %0A: d")))
    assert found[0].properties == {"title": "missing: case of 100%: a,b::c"}
    assert found[0].message == "50%, %0A: d"


@given(hostile_text())
def test_no_text_makes_another_annotation(text: str) -> None:
    """As many commands of the same kinds as harmless text gives, each with a title alone."""
    found = commands(hostile_comparison(text))
    assert [command.name for command in found] == ["error", "error", "warning", "notice", "notice"]
    assert all(set(command.properties) == {"title"} for command in found)


def test_no_known_trick_makes_another_annotation() -> None:
    for text in HOSTILE:
        assert len(commands(hostile_comparison(text))) == 5
