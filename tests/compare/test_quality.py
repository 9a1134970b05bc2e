"""A quality that the user declares is judged, shown and exported as accuracy is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from cnnperf.catalog.loops import LoopCase, Quality
from cnnperf.catalog.registry import register_case
from cnnperf.compare.history.load import load_folder
from cnnperf.compare.history.series import find_series
from cnnperf.compare.rules import Rules, find_rules
from cnnperf.compare.thresholds import MetricSettings, Thresholds
from cnnperf.compare.verdicts import MetricVerdict
from cnnperf.errors import UsageError
from cnnperf.record.journal import add_repeat, new_case_record
from cnnperf.record.schema import CaseRecord, EpochResult, Record
from cnnperf.report.formats.comparison import Format, as_text
from cnnperf.report.formats.dashboards import export
from cnnperf.report.terminal.run import render, results_table
from cnnperf.report.wording.history import effect
from tests.compare.judging import compared, only_case, side_of
from tests.examples import (
    CREATED,
    example_case_record,
    example_record,
    example_repeat,
    write_record,
)
from tests.report.page_parts import data_of, figure_of, page_of, table_of, values_of

IOU = Quality(name="test_iou", better="higher", margin=0.01)
ERROR = Quality(name="test_error", better="lower", margin=0.5, unit="mm")
STEADY = (0.700, 0.702, 0.698, 0.701, 0.699)


def reported(
    values: Sequence[float], quality: Quality | None = IOU, name: str = "test_iou", **case: Any
) -> CaseRecord:
    """A training of one's own that reported a figure with each seed."""
    loop = LoopCase(
        name="own", trainer="a:b", quality=() if quality is None else (quality,), **case
    )
    record = new_case_record(loop, shortened=False)
    for seed, value in enumerate(values):
        repeat = example_repeat(seed, 10 + seed / 100, test_accuracy=None, test_f1_macro=None)
        epochs = [
            EpochResult(epoch=number, train_seconds=1, metrics={"val_iou": value - 0.1 / number})
            for number in (1, 2)
        ]
        changes = {
            "quality": {name: value},
            "epochs": epochs,
            "precision": None,
            "dataset_sha256": None,
        }
        add_repeat(record, loop, repeat.model_copy(update=changes))
    return record


def judged(
    base: CaseRecord, new: CaseRecord, name: str = "test_iou", **rules: Any
) -> MetricVerdict:
    """The verdict on the figure."""
    return only_case(compared(base, new, **rules)).metrics[name]


@pytest.mark.parametrize(
    ("quality", "change", "verdict"),
    [
        (IOU, -0.03, "worse"),
        (IOU, +0.03, "better"),
        (IOU, -0.004, "same"),
        (ERROR, +0.9, "worse"),
        (ERROR, -0.9, "better"),
        (ERROR, +0.1, "same"),
    ],
)
def test_the_declared_direction_and_margin_decide(
    quality: Quality, change: float, verdict: str
) -> None:
    """Each seed moves by nearly the same, so pairs are certain."""
    noise = (0.0001, -0.0001, 0.0002, 0, -0.0002)
    new = [value + change + each for value, each in zip(STEADY, noise, strict=True)]
    sides = (reported(values, quality, quality.name) for values in (STEADY, new))
    found = judged(*sides, quality.name)
    assert (found.verdict, found.paired, found.gates) == (verdict, True, True)
    assert found.difference == pytest.approx(change, abs=2e-4)
    assert found.ratio is None
    assert (found.unit, found.better) == (quality.unit, quality.better)


def test_a_floor_fails_whatever_base_has() -> None:
    """For a figure that should be low it is a limit from above."""
    low = IOU.model_copy(update={"floor": 0.7})
    found = judged(reported(STEADY, low), reported(STEADY, low))
    assert (found.verdict, found.reason) == ("worse", "2 of 5 trainings below its floor of 0.7")
    high = ERROR.model_copy(update={"floor": 0.701})
    sides = [reported(STEADY, high, "test_error") for _ in range(2)]
    found = judged(*sides, "test_error")
    assert found.reason == "1 of 5 trainings above its limit of 0.701 mm"


def test_what_only_one_side_declares() -> None:
    """A quality that is new is not compared; one that is gone is missing, which fails."""
    silent = reported(STEADY, None)
    assert "test_iou" not in only_case(compared(silent, silent)).metrics
    only = only_case(compared(silent.model_copy(deep=True), reported(STEADY)))
    assert only.metrics["test_iou"].verdict == "same"  # it was reported, though not declared
    unreported = reported(STEADY, None, "another")
    assert "test_iou" not in only_case(compared(unreported, reported(STEADY))).metrics
    gone = compared(reported(STEADY), unreported)
    assert only_case(gone).metrics["test_iou"].verdict == "missing"
    assert gone.exit_code == 1


def test_another_direction_or_unit_is_not_comparable() -> None:
    """The figures may mean something else."""
    other = IOU.model_copy(update={"better": "lower"})
    comparison = compared(reported(STEADY), reported(STEADY, other))
    assert only_case(comparison).verdict == "not comparable"
    assert "test_iou was higher is better in 1, now lower is better in 1" in (
        only_case(comparison).reason or ""
    )


def test_other_settings_are_another_training() -> None:
    """They are the recipe of a loop of one's own; its code is not part of it."""
    sides = (reported(STEADY, settings={"rate": rate}) for rate in (0.1, 0.2))
    assert only_case(compared(*sides)).reason == "rate 0.1 against 0.2"


def test_thresholds_of_the_project_win(tmp_path: Path) -> None:
    """As for accuracy; a name that no case declares is refused with the nearest one."""
    wide = Thresholds(cases={"own": {"test_iou": MetricSettings(margin=0.1, gate=False)}})
    found = judged(reported(STEADY), reported([0.65, 0.652, 0.648, 0.651, 0.649]), thresholds=wide)
    assert (found.verdict, found.threshold, found.gates) == ("same", 0.1, False)
    for name in ("test_iou", "test_iuo"):
        (tmp_path / "cnnperf.toml").write_text(f"[metrics.{name}]\nmargin = 2.5\n")
        if name == "test_iou":
            rules = find_rules(tmp_path, [side_of(reported(STEADY))])
            assert rules.thresholds.rule("own", "test_iou", IOU).threshold == 2.5
        else:
            with pytest.raises(UsageError, match=r"'test_iuo' \(did you mean 'test_iou'"):
                find_rules(tmp_path, [side_of(reported(STEADY))])


def test_a_name_means_one_thing_in_a_project() -> None:
    """Tables have one column for it."""
    register_case(LoopCase(name="one", trainer="a:b", quality=(IOU,)))
    other = IOU.model_copy(update={"unit": "%"})
    with pytest.raises(UsageError, match=r"test_iou \(higher is better, unit %\) is higher and 1"):
        register_case(LoopCase(name="two", trainer="a:b", quality=(other,)))


def test_every_output_has_it() -> None:
    """With its unit: terminal, Markdown, JUnit, annotations, JSON, exports and the page."""
    name = "test_error"
    base, new = (reported(values, ERROR, name) for values in ([1.0, 1.1, 1.2], [2.0, 2.1, 2.2]))
    comparison = compared(base, new)
    for form in (Format.TABLE, Format.MARKDOWN):
        text = as_text(comparison, form)
        assert "+1 mm" in text
        assert "1.1 mm" in text
    junit = ElementTree.fromstring(as_text(comparison, Format.JUNIT))  # noqa: S314 - ours
    (failed,) = [case for case in junit.iter("testcase") if case.find("failure") is not None]
    assert failed.get("name") == "test_error"
    assert "test_error" in as_text(comparison, Format.GITHUB)
    found = json.loads(as_text(comparison, Format.JSON))["cases"][0]["metrics"][name]
    assert (found["verdict"], found["unit"], found["better"]) == ("worse", "mm", "lower")
    assert "ratio" not in found
    record = example_record(base)
    assert "1.1 mm" in render(results_table(record), width=160, color=False)
    (exported,) = [
        each
        for each in json.loads(json.dumps(export(record, "customSmallerIsBetter")))
        if each["name"] == "own/test_error"
    ]
    assert (exported["value"], exported["unit"]) == (1.1, "mm")


def test_the_page_has_columns_and_curves() -> None:
    """Of results, trainings and epochs, and a curve of what each epoch reported."""
    page = page_of(example_record(reported(STEADY)))
    assert values_of(table_of(page, "table-results"))[0]["test_iou"] == pytest.approx(0.7)
    trainings = values_of(table_of(page, "table-trainings"))
    assert [row["test_iou"] for row in trainings] == list(STEADY)
    epochs = values_of(table_of(page, "table-epochs"))
    assert epochs[1]["val_iou"] == pytest.approx(STEADY[0] - 0.05)
    curve = data_of(figure_of(page, "metric-val-iou-own"))
    medians = [row["value"] for row in curve if row["role"] == "median"]
    assert medians == pytest.approx([0.6, 0.65])


def test_a_loss_of_ones_own_is_not_called_cross_entropy() -> None:
    """Nobody knows what it is; that of the study's recipe is known."""
    own = reported(STEADY)
    losses = [EpochResult(epoch=n, train_seconds=1, train_loss=1 / n) for n in (1, 2)]
    own.repeats[0].epochs[:] = losses
    study = example_case_record(
        repeats=[example_repeat().model_copy(update={"epochs": losses, "per_class": None})]
    )
    page = page_of(example_record(own, study))
    titles = {
        name: json.dumps(figure_of(page, f"loss-{name}").specification)
        for name in ("own", "modified-vgg-mnist-28-eager")
    }
    assert "cross-entropy" not in titles["own"]
    assert "cross-entropy in nats" in titles["modified-vgg-mnist-28-eager"]


def test_the_verdicts_page_has_it() -> None:
    """As a row of its own, in its unit."""
    records: list[Record] = [
        example_record(reported(values, ERROR, "test_error")) for values in ([1, 1.1], [2, 2.1])
    ]
    rows = values_of(table_of(page_of(*records), "table-verdicts"))
    assert any(row.get("metric") == "test_error" for row in rows), rows


def test_history_finds_its_steps(tmp_path: Path) -> None:
    """In its own unit, in its own direction; undeclared figures have no series."""
    for number in range(16):
        level = 10.0 + 2.0 * (number >= 8) + number % 3 / 100 + number / 1e5
        case = reported([level, level + 0.01], ERROR, "test_error")
        case.repeats[0].quality["stray"] = 1.0
        record = example_record(case, created=CREATED + timedelta(days=number))
        write_record(tmp_path / f"{number:02}.json", json.loads(record.model_dump_json()))
    loaded = load_folder(tmp_path, ["train_seconds"])
    found = {each.metric: each for each in find_series(loaded.points, Thresholds())}
    assert set(found) == {"train_seconds", "test_error"}
    (step,) = found["test_error"].steps
    assert (step.index, step.is_better) == (8, False)
    assert step.estimate == pytest.approx(2.0, abs=0.02)
    assert effect(found["test_error"], step).startswith("+2")


def test_rules_of_a_quality_are_not_those_of_a_share() -> None:
    """A margin above a half and a floor above 1 are fine; a margin of accuracy is not."""
    rules = Rules()
    big = Quality(name="psnr", better="higher", margin=3, floor=20, unit="dB")
    assert rules.thresholds.rule("own", "psnr", big).floor == 20
