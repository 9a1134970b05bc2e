"""Series of comparable points, and the records, sizes and causes of their steps."""

from __future__ import annotations

import math
import random
import statistics
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cnnperf.compare.history.load import Point, load_folder
from cnnperf.compare.history.series import Series, find_series
from cnnperf.compare.thresholds import MetricSettings, Thresholds
from cnnperf.record.environment import Settings
from cnnperf.record.live import LiveTraining
from cnnperf.record.schema import CaseRecord
from cnnperf.report.wording.history import NOTHING, cause, effect
from tests.compare.history.folders import CASE, case_with, commit_of, write, write_history
from tests.examples import (
    CREATED,
    example_case,
    example_case_record,
    example_environment,
    example_record,
    example_repeat,
    write_record,
)

UP = [20.0] * 10 + [21.4] * 10
"""Seconds: a step of 7 % before the eleventh record."""


def _series(folder: Path, *metrics: str, thresholds: Thresholds | None = None) -> list[Series]:
    loaded = load_folder(folder, metrics or ("train_seconds",))
    return find_series(loaded.points, thresholds or Thresholds())


def _write_each(folder: Path, cases: list[CaseRecord], **record: Any) -> None:
    for number, case in enumerate(cases):
        made = example_record(case, created=CREATED + timedelta(days=number), **record)
        write(folder / f"{number:03}.json", made)


def test_step_has_records_commits_levels_interval_and_changes(tmp_path: Path) -> None:
    """A slowdown of 7 % in the eleventh record, with another torch and cuDNN."""
    written = write_history(tmp_path, UP, changes={10: {"torch": "2.16.0", "cudnn": "9.30"}})
    (series,) = _series(tmp_path)
    (step,) = series.steps
    assert (step.index, step.is_better) == (10, False)
    assert Path(step.before.file).name == "009.json"
    assert Path(step.after.file).name == "010.json"
    assert (step.before.commit, step.after.commit) == (commit_of(9), commit_of(10))
    medians = [statistics.median(each) for each in written]
    assert step.old == pytest.approx(statistics.median(medians[:10]))
    assert step.new == pytest.approx(statistics.median(medians[10:]))
    assert step.low < 1.07 < step.high
    assert step.low < step.estimate < step.high
    fields = [change.field for change in step.changes]
    assert sorted(fields[:2]) == ["software.cudnn", "software.torch"]
    assert fields[2:] == ["commit"]
    assert "torch 2.15.0 → 2.16.0" in cause(step.changes)
    assert effect(series, step).startswith("+7.")


def test_falling_rate_is_worse_and_rising_rate_is_better(tmp_path: Path) -> None:
    """The metric decides the direction."""
    write_history(tmp_path / "down", UP)
    write_history(tmp_path / "up", UP[::-1], seed=1)
    (down,) = _series(tmp_path / "down", "images_per_second")
    (up,) = _series(tmp_path / "up", "images_per_second")
    assert [(s.is_better, s.estimate < 1) for s in down.steps] == [(False, True)]
    assert [(s.is_better, s.estimate > 1) for s in up.steps] == [(True, True)]


def test_step_without_a_recorded_change_has_no_cause(tmp_path: Path) -> None:
    """The text is a fixed phrase."""
    _write_each(tmp_path, [case_with([value + number / 1000]) for number, value in enumerate(UP)])
    ((step,),) = [series.steps for series in _series(tmp_path)]
    assert step.changes == ()
    assert cause(step.changes) == NOTHING


def test_changed_setting_of_trainings_is_the_cause(tmp_path: Path) -> None:
    """Half the threads."""
    cases = []
    for number, value in enumerate(UP):
        case = case_with([value + number / 1000])
        settings = Settings(device="cuda", torch_threads=8 if number < 10 else 4)
        case.repeats[0] = case.repeats[0].model_copy(update={"settings": settings})
        cases.append(case)
    _write_each(tmp_path, cases)
    ((step,),) = [series.steps for series in _series(tmp_path)]
    assert cause(step.changes) == "torch threads 8 → 4"


def test_accuracy_step_is_a_difference(tmp_path: Path) -> None:
    """A loss of 2 points; each record differs a little."""
    cases = [
        case_with([20.0 + number / 100], accuracy=level + number % 3 / 5000)
        for number, level in enumerate([0.99] * 8 + [0.97] * 8)
    ]
    _write_each(tmp_path, cases)
    (series,) = _series(tmp_path, "test_accuracy")
    (step,) = series.steps
    assert step.index == 8
    assert not step.is_better
    assert step.estimate == pytest.approx(-0.02, abs=0.0005)
    assert effect(series, step).startswith("-2.0")


def test_step_within_the_projects_threshold_is_not_found(tmp_path: Path) -> None:
    """7 % with a threshold of 20 %."""
    write_history(tmp_path, UP)
    own = Thresholds(metrics={"train_seconds": MetricSettings(threshold=0.2)})
    assert [len(series.steps) for series in _series(tmp_path, thresholds=own)] == [0]


def test_other_fingerprint_starts_another_series(tmp_path: Path) -> None:
    """The second series has a distinction that names the model."""
    cases = []
    for number, value in enumerate(UP):
        case = case_with([value + number / 1000])
        assert case.fingerprint is not None
        hashed = ("a" if number < 12 else "c") * 64
        case.fingerprint = case.fingerprint.model_copy(update={"model_sha256": hashed})
        cases.append(case)
    _write_each(tmp_path, cases)
    first, second = _series(tmp_path)
    assert [len(first.points), len(second.points)] == [12, 8]
    assert first.distinction is None
    assert second.distinction == f"not comparable: model {'a' * 12} against {'c' * 12}"


def test_shortened_trainings_have_a_series_for_each_length(tmp_path: Path) -> None:
    """They have no accuracy series."""
    cases = [case_with([20.0 + number]) for number in range(6)]
    for number, case in enumerate(cases[2:]):
        case.shortened = True
        steps = 40 if number < 2 else 60
        case.repeats[0] = case.repeats[0].model_copy(update={"steps": steps})
    _write_each(tmp_path, cases)
    speed = _series(tmp_path)
    assert [(len(each.points), each.distinction) for each in speed] == [
        (2, None), (2, "shortened to 40 steps"), (2, "shortened to 60 steps")
    ]  # fmt: skip
    (accuracy,) = _series(tmp_path, "test_accuracy")
    assert len(accuracy.points) == 2


def test_each_machine_has_a_series_and_software_does_not_split_it(tmp_path: Path) -> None:
    """Another GPU is another machine; another driver is not."""
    write_history(tmp_path / "a", [20.0, 20.1], changes={1: {"driver": "580"}})
    record = example_record(case_with([5.0]), environment=example_environment(gpu=None))
    write(tmp_path / "b.json", record)
    found = {each.machine_label: len(each.points) for each in _series(tmp_path)}
    assert found == {"NVIDIA H200": 2, "AMD EPYC 9654, 16 cores": 1}


def test_five_records_are_too_short_for_a_step(tmp_path: Path) -> None:
    """Even if the last is far away."""
    write_history(tmp_path, [20.0, 20.0, 20.0, 40.0, 40.0])
    (series,) = _series(tmp_path)
    assert series.is_too_short
    assert not series.steps


def test_series_are_sorted_by_case_then_in_the_order_of_metrics(tmp_path: Path) -> None:
    """The order of metrics is that of the tables."""
    other = case_with([20.0], id=example_case("vgg16").id)
    write(tmp_path / "a.json", example_record(other, case_with([21.0])))
    names = [(s.case_id, s.metric) for s in _series(tmp_path, "test_accuracy", "train_seconds")]
    metrics = ("train_seconds", "test_accuracy")
    assert names == [(case, metric) for case in (CASE, other.id) for metric in metrics]


def test_time_of_zero_is_left_out(tmp_path: Path) -> None:
    """It has no logarithm."""
    write(tmp_path / "a.json", example_record(case_with([20.0])))
    record = example_record(case_with([20.0]), created=CREATED + timedelta(days=1))
    record.cases[0].repeats[0].metrics.train_seconds = 0.0
    write(tmp_path / "b.json", record)
    assert [len(series.points) for series in _series(tmp_path)] == [1]


def _point(number: int, seconds: float, driver: str) -> Point:
    environment = example_environment()
    software = environment.software.model_copy(update={"driver": driver})
    return Point(
        case_id=CASE,
        metric="train_seconds",
        file=f"{number}.json",
        created=CREATED + timedelta(days=number),
        environments=(environment.model_copy(update={"software": software}),),
        commit=None,
        dirty=False,
        fingerprint=None,
        shortened=False,
        steps=1,
        interrupted=False,
        disturbed=False,
        quality=None,
        n=1,
        median=seconds,
        low=seconds,
        high=seconds,
    )


def test_step_moves_to_a_plausible_record_at_which_something_changed() -> None:
    """Noise moves a step by a record or two; a new driver shows where it was."""
    rng = random.Random(1)
    found, plain = [], []
    for _ in range(40):
        levels = [20.0] * 20 + [21.2] * 20
        seconds = [level * math.exp(rng.gauss(0, 0.015)) for level in levels]
        points = [_point(n, s, "570" if n < 20 else "580") for n, s in enumerate(seconds)]
        found += [s.index for series in find_series(points, Thresholds()) for s in series.steps]
        same = [_point(number, value, "570") for number, value in enumerate(seconds)]
        plain += [s.index for series in find_series(same, Thresholds()) for s in series.steps]
    assert len(found) == len(plain) >= 36
    assert found.count(20) >= 0.95 * len(found)
    assert found.count(20) > plain.count(20)


def test_step_does_not_move_to_an_outlier_at_which_something_changed() -> None:
    """Records 10 and 12 are equally plausible, and 11 is the outlier with another driver."""
    levels = [0.0] * 10 + [0.05, 1.0] + [0.1] * 10
    points = [
        _point(number, 20 * math.exp(level), "570" if number < 11 else "580")
        for number, level in enumerate(levels)
    ]
    (series,) = find_series(points, Thresholds())
    assert series.outliers == {11}
    assert [step.index for step in series.steps] in ([10], [12])


def test_deterministic_and_unrecorded_trainings_have_a_distinction(tmp_path: Path) -> None:
    """The longest series has none."""
    cases = [case_with([20.0 + number]) for number in range(4)]
    settings = Settings(device="cuda", deterministic_algorithms=True)
    cases[2].repeats[0] = cases[2].repeats[0].model_copy(update={"settings": settings})
    cases[3].fingerprint = None
    _write_each(tmp_path, cases)
    assert [(len(each.points), each.distinction) for each in _series(tmp_path)] == [
        (2, None), (1, "deterministic"), (1, "what was trained is not recorded")
    ]  # fmt: skip


def test_records_of_both_schema_versions_form_one_series(tmp_path: Path) -> None:
    """Version 1 does not know what was live; a contradiction starts another series."""
    live = {"optimizer": "Adam", "loss": "CrossEntropyLoss", "contradicts": []}
    sgd = {**live, "optimizer": "SGD", "contradicts": ["optimizer"]}
    for day, training in enumerate([None, live, sgd]):
        repeats = [
            example_repeat(0, 20.0).model_copy(
                update={"training": training and LiveTraining.model_validate(training)}
            )
        ]
        record = example_record(
            example_case_record(repeats=repeats), created=CREATED + timedelta(days=day)
        )
        body = record.model_dump(mode="json")
        if training is None:
            body["schema_version"] = 1
            (case,) = body["cases"]
            del case["fingerprint"]["overrides"], case["repeats"][0]["training"]
        write_record(tmp_path / f"{day}.json", body)
    main, other = _series(tmp_path)
    assert [len(main.points), len(other.points)] == [2, 1]
    assert other.distinction == "not comparable: optimizer adam against SGD"
