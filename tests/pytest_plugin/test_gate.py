"""What of a baseline a run is held to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from cnnperf.errors import UsageError
from cnnperf.pytest_plugin.start import Gate
from cnnperf.record.schema import CaseRecord
from tests.examples import (
    example_case,
    example_case_record,
    example_environment,
    example_record,
    example_repeat,
    skipped_case_record,
    write_record,
)

STEADY = (10.0, 10.05, 9.95)
VGG, RESNET = example_case(), example_case("modified_resnet")


def _case(seconds: Sequence[float] = STEADY, case: object = VGG) -> CaseRecord:
    repeats = [
        example_repeat(seed, value, images_per_second=480_000 / value)
        for seed, value in enumerate(seconds)
    ]
    return example_case_record(case, repeats)  # type: ignore[arg-type]


def _baseline(folder: Path, *cases: CaseRecord) -> Path:
    record = example_record(*cases)
    return write_record(folder / "base.json", json.loads(record.model_dump_json()))


def test_slower_case_is_a_regression(tmp_path: Path) -> None:
    """By the same rules as two records."""
    gate = Gate.open(_baseline(tmp_path, _case()), tmp_path, [VGG.id])
    for factor, verdict in ((1.0, "same"), (1.2, "slower"), (0.8, "faster")):
        record = example_record(_case([factor * value for value in STEADY]))
        (case,) = gate.judge(record, "run.json", [VGG.id]).cases
        assert case.metrics["train_seconds"].verdict == verdict


def test_unselected_cases_of_the_baseline_are_left_out(tmp_path: Path) -> None:
    """As -k does; but one that does not exist any more is missing."""
    gone = example_case("modified_vgg", "mnist", 99)
    cases = [_case(), _case(case=RESNET), _case(case=gone)]
    gate = Gate.open(_baseline(tmp_path, *cases), tmp_path, [VGG.id])
    comparison = gate.judge(example_record(_case()), "run.json", [VGG.id])
    assert {case.id: case.verdict for case in comparison.cases} == {
        VGG.id: "same",
        gone.id: "missing",
    }
    assert comparison.exit_code == 1


def test_planned_case_without_training_is_missing(tmp_path: Path) -> None:
    """An interrupted run passes no gate."""
    path = _baseline(tmp_path, _case(), _case(case=RESNET))
    planned = [VGG.id, RESNET.id]
    comparison = Gate.open(path, tmp_path, planned).judge(
        example_record(_case(), interrupted=True), "run.json", planned
    )
    assert [case.verdict for case in comparison.cases] == ["same", "missing"]


def test_baseline_of_other_cases_is_refused(tmp_path: Path) -> None:
    """It names what it has; a case that it skipped is none."""
    path = _baseline(tmp_path, _case(case=RESNET), skipped_case_record())
    for planned in ([VGG.id], ["modified_vgg-cifar10-28-eager"]):
        with pytest.raises(UsageError, match="has none of this run's cases") as caught:
            Gate.open(path, tmp_path, planned)
        assert RESNET.id in str(caught.value)


def test_refusal_names_three_cases_of_a_large_baseline(tmp_path: Path) -> None:
    """And not all of a hundred."""
    cases = [_case(case=example_case("modified_vgg", "mnist", 30 + i)) for i in range(100)]
    with pytest.raises(UsageError, match=r"mnist-32-eager and 97 more$"):
        Gate.open(_baseline(tmp_path, *cases), tmp_path, [VGG.id])


def test_another_machine_is_compared_with_only_across_hardware(tmp_path: Path) -> None:
    """The sentence names the option of a run."""
    path = _baseline(tmp_path, _case())
    record = example_record(_case(), environment=example_environment(cpu_model="another"))
    (refused,) = Gate.open(path, tmp_path, [VGG.id]).judge(record, "run.json", [VGG.id]).cases
    assert refused.verdict == "not comparable"
    assert "add --cnnperf-across hardware to compare" in str(refused.reason)
    for across, exit_code in ((["software"], 3), (["hardware"], 0), (["software", "hardware"], 0)):
        gate = Gate.open(path, tmp_path, [VGG.id], across)
        assert gate.judge(record, "run.json", [VGG.id]).exit_code == exit_code


def test_thresholds_of_the_project_apply(tmp_path: Path) -> None:
    """From its root folder."""
    path = _baseline(tmp_path, _case())
    (tmp_path / "cnnperf.toml").write_text("[metrics.train_seconds]\nthreshold = 0.5\n")
    gate = Gate.open(path, tmp_path, [VGG.id])
    assert gate.rules.thresholds.rule(VGG.id, "train_seconds").threshold == 0.5
