"""Thresholds: defaults, a project's own, and messages on wrong files."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from cnnperf.catalog.registry import all_cases
from cnnperf.compare.thresholds import DEFAULTS, JUDGED, Thresholds, find_thresholds
from cnnperf.errors import UsageError
from cnnperf.record.metrics import METRICS
from cnnperf.record.schema import Metrics

MNIST = "modified_vgg-mnist-28-fast"
CIFAR = "modified_vgg-cifar10-28-augmented-fast"


def _thresholds(folder: Path, text: str, name: str = "cnnperf.toml") -> Thresholds:
    (folder / name).write_text(text)
    return find_thresholds(None, folder)


def test_every_judged_metric_has_a_direction_and_a_field_in_the_record() -> None:
    """Defaults are complete too."""
    assert set(JUDGED) == set(DEFAULTS)
    assert {METRICS[name].better for name in JUDGED} == {"lower", "higher"}
    assert set(JUDGED) <= set(Metrics.model_fields)


def test_every_case_has_rules_and_full_recipes_have_a_floor() -> None:
    """Short recipes and variants may not reach a floor."""
    thresholds = Thresholds()
    for case in all_cases():
        assert thresholds.rule(case.id, "train_seconds").threshold == 0.03
        accuracy = thresholds.rule(case.id, "test_accuracy")
        assert accuracy.gate
        full = case.recipe.name in ("report", "brief", "augmented", "report30", "augmented30")
        known = case.dataset != "synthetic" and full and case.engine in ("eager", "fast")
        assert (accuracy.floor is not None) == (known and case.variant is None)


def test_id_precedes_pattern_precedes_metrics_precedes_defaults(tmp_path: Path) -> None:
    """A key that a table lacks keeps its value."""
    thresholds = _thresholds(
        tmp_path,
        f"""
        [metrics.test_accuracy]
        margin = 0.02
        [thresholds."{CIFAR}".test_accuracy]
        margin = 0.04
        [thresholds."*-cifar10-*".test_accuracy]
        margin = 0.03
        floor = 0.7
        """,
    )
    assert thresholds.rule(MNIST, "test_accuracy").threshold == 0.02
    assert thresholds.rule(MNIST, "test_accuracy").floor == 0.97
    assert thresholds.rule("modified_vgg-cifar10-28-fast", "test_accuracy").threshold == 0.03
    own = thresholds.rule(CIFAR, "test_accuracy")
    assert (own.threshold, own.floor, own.gate) == (0.04, 0.7, True)


def test_gate_of_a_metric_can_be_switched_on_and_off(tmp_path: Path) -> None:
    """In [metrics]."""
    text = "[metrics.peak_memory_bytes]\ngate = true\n[metrics.train_seconds]\ngate = false\n"
    thresholds = _thresholds(tmp_path, text)
    assert not Thresholds().rule(MNIST, "peak_memory_bytes").gate
    assert thresholds.rule(MNIST, "peak_memory_bytes").gate
    assert not thresholds.rule(MNIST, "train_seconds").gate


def test_noise_widens_a_narrower_threshold_to_three_standard_deviations() -> None:
    """The noise is on the scale of the logarithm."""
    rule = Thresholds().rule(MNIST, "train_seconds")
    assert rule.widened(None) == rule
    assert rule.widened(0.001).threshold == 0.03
    assert rule.widened(0.02).threshold == pytest.approx(math.exp(0.06) - 1)


def test_named_file_precedes_cnnperf_toml_precedes_pyproject(tmp_path: Path) -> None:
    """Only one file is read."""
    _thresholds(tmp_path, "[tool.cnnperf.metrics.train_seconds]\nthreshold = 0.2", "pyproject.toml")
    assert find_thresholds(None, tmp_path).rule(MNIST, "train_seconds").threshold == 0.2
    own = _thresholds(tmp_path, "[metrics.train_seconds]\nthreshold = 0.1")
    assert own.rule(MNIST, "train_seconds").threshold == 0.1
    named = tmp_path / "strict.toml"
    named.write_text("[metrics.train_seconds]\nthreshold = 0.01")
    assert find_thresholds(named, tmp_path).rule(MNIST, "train_seconds").threshold == 0.01


def test_source_is_none_without_a_table_of_cnnperf(tmp_path: Path) -> None:
    """A pyproject.toml may have none."""
    assert find_thresholds(None, tmp_path).source is None
    assert _thresholds(tmp_path, "[tool.ruff]\nline-length = 9", "pyproject.toml").source is None
    assert _thresholds(tmp_path, "[metrics.train_seconds]\ngate = true").source is not None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[metrics", "is not valid TOML"),
        ("[metricks.x]", "there is no key 'metricks' (did you mean 'metrics'?)"),
        (
            "[metrics.train_second]\nthreshold = 1",
            "[metrics]: there is no metric to judge 'train_second' (did you mean 'train_seconds'?)",
        ),
        (
            "[metrics.train_seconds]\nmargin = 0.1",
            "[metrics.train_seconds]: there is no key 'margin'",
        ),
        (
            "[metrics.test_accuracy]\nmargn = 0.1",
            "[metrics.test_accuracy]: there is no key 'margn' (did you mean 'margin'?)",
        ),
        ('[metrics.train_seconds]\nthreshold = "3 %"', "metrics.train_seconds.threshold: Input"),
        ("[metrics.train_seconds]\nthreshold = -0.1", "greater than 0"),
        ("[metrics.train_seconds]\nthreshold = nan", "metrics.train_seconds.threshold: Input"),
        ("[metrics.test_accuracy]\nfloor = 99", "less than or equal to 1"),
        ("[metrics.train_seconds]\nthreshold = 5", "less than 1"),
        ("metrics = 3", "[metrics]: expected a table, found 3"),
        ('[thresholds]\n"x" = 1', "[thresholds.x]: expected a table, found 1"),
    ],
)
def test_wrong_key_or_value_is_refused_with_file_place_and_nearest_name(
    tmp_path: Path, text: str, expected: str
) -> None:
    """In one sentence."""
    with pytest.raises(UsageError) as caught:
        _thresholds(tmp_path, text)
    assert str(tmp_path / "cnnperf.toml") in str(caught.value)
    assert expected in str(caught.value)


def test_pyproject_whose_tool_is_not_a_table_is_refused(tmp_path: Path) -> None:
    """A traceback's exit code would mean a regression."""
    for text in ("tool = 3", "[tool]\ncnnperf = 3"):
        with pytest.raises(UsageError, match="expected a table, found 3"):
            _thresholds(tmp_path, text, "pyproject.toml")


def test_named_file_that_is_absent_is_refused(tmp_path: Path) -> None:
    """Default files may be absent."""
    with pytest.raises(UsageError, match=r"none\.toml cannot be read: No such file"):
        find_thresholds(tmp_path / "none.toml", tmp_path)


def test_id_or_pattern_without_a_case_is_refused_with_the_nearest_id(tmp_path: Path) -> None:
    """A pattern that matches nothing is a mistake."""
    ids = [case.id for case in all_cases()]
    table = '[thresholds."{}".train_seconds]\nthreshold = 0.1'
    _thresholds(tmp_path, table.format(MNIST)).check_names(ids, ())
    _thresholds(tmp_path, table.format("*-cifar10-*")).check_names(ids, ())
    with pytest.raises(UsageError, match="did you mean 'modified_vgg-mnist-28-fast'"):
        _thresholds(tmp_path, table.format("modified_vgg-mnst-28-fast")).check_names(ids, ())
    with pytest.raises(UsageError, match=r"there is no case '\*-imagenet-\*'"):
        _thresholds(tmp_path, table.format("*-imagenet-*")).check_names(ids, ())
