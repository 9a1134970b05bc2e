"""Thresholds: the defaults, a project's own over them, and what is said of a wrong file."""

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


def test_every_judged_metric_has_defaults_and_a_better_direction() -> None:
    """And is a field of the record."""
    assert set(JUDGED) == set(DEFAULTS)
    assert {METRICS[name].better for name in JUDGED} == {"lower", "higher"}
    assert set(JUDGED) <= set(Metrics.model_fields)


def test_every_case_of_ours_has_a_rule_for_every_metric() -> None:
    """With a floor for accuracy where the recipe is known to get there."""
    thresholds = Thresholds()
    for case in all_cases():
        assert thresholds.rule(case.id, "train_seconds").threshold == 0.03
        accuracy = thresholds.rule(case.id, "test_accuracy")
        assert accuracy.gate
        full = case.recipe.name in ("report", "brief", "augmented", "report30", "augmented30")
        known = case.dataset != "synthetic" and full and case.engine in ("eager", "fast")
        assert (accuracy.floor is not None) == (known and case.variant is None)


def test_later_tables_win(tmp_path: Path) -> None:
    """Ours, then yours for all, then a pattern's, then an id's; what is not named stays."""
    thresholds = _thresholds(
        tmp_path,
        f"""
        [metrics.test_accuracy]
        margin = 0.02
        [cases."{CIFAR}".test_accuracy]
        margin = 0.04
        [cases."*-cifar10-*".test_accuracy]
        margin = 0.03
        floor = 0.7
        """,
    )
    assert thresholds.rule(MNIST, "test_accuracy").threshold == 0.02
    assert thresholds.rule(MNIST, "test_accuracy").floor == 0.97
    assert thresholds.rule("modified_vgg-cifar10-28-fast", "test_accuracy").threshold == 0.03
    own = thresholds.rule(CIFAR, "test_accuracy")
    assert (own.threshold, own.floor, own.gate) == (0.04, 0.7, True)


def test_a_metric_that_gates_nothing_can_be_made_to(tmp_path: Path) -> None:
    """And the other way round."""
    text = "[metrics.peak_memory_bytes]\ngate = true\n[metrics.train_seconds]\ngate = false\n"
    thresholds = _thresholds(tmp_path, text)
    assert not Thresholds().rule(MNIST, "peak_memory_bytes").gate
    assert thresholds.rule(MNIST, "peak_memory_bytes").gate
    assert not thresholds.rule(MNIST, "train_seconds").gate


def test_a_machines_noise_widens_what_is_narrower() -> None:
    """Three standard deviations of the logarithm, as a ratio."""
    rule = Thresholds().rule(MNIST, "train_seconds")
    assert rule.widened(None) == rule
    assert rule.widened(0.001).threshold == 0.03
    assert rule.widened(0.02).threshold == pytest.approx(math.exp(0.06) - 1)


def test_a_file_of_its_own_goes_before_the_projects(tmp_path: Path) -> None:
    """And one that is named goes before both."""
    _thresholds(tmp_path, "[tool.cnnperf.metrics.train_seconds]\nthreshold = 0.2", "pyproject.toml")
    assert find_thresholds(None, tmp_path).rule(MNIST, "train_seconds").threshold == 0.2
    own = _thresholds(tmp_path, "[metrics.train_seconds]\nthreshold = 0.1")
    assert own.rule(MNIST, "train_seconds").threshold == 0.1
    named = tmp_path / "strict.toml"
    named.write_text("[metrics.train_seconds]\nthreshold = 0.01")
    assert find_thresholds(named, tmp_path).rule(MNIST, "train_seconds").threshold == 0.01


def test_where_no_file_says_anything_nothing_is_named_as_the_source(tmp_path: Path) -> None:
    """A pyproject.toml about other things is none of ours."""
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
        ('[cases]\n"x" = 1', "[cases.x]: expected a table, found 1"),
    ],
)
def test_what_does_not_fit_is_said_in_a_sentence(tmp_path: Path, text: str, expected: str) -> None:
    """With the file, the place and the nearest name that does."""
    with pytest.raises(UsageError) as caught:
        _thresholds(tmp_path, text)
    assert str(tmp_path / "cnnperf.toml") in str(caught.value)
    assert expected in str(caught.value)


def test_a_project_file_of_another_shape_is_said_in_a_sentence(tmp_path: Path) -> None:
    """Not a traceback, which would look like a regression."""
    for text in ("tool = 3", "[tool]\ncnnperf = 3"):
        with pytest.raises(UsageError, match="expected a table, found 3"):
            _thresholds(tmp_path, text, "pyproject.toml")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """Only one that was named must be."""
    with pytest.raises(UsageError, match=r"none\.toml cannot be read: No such file"):
        find_thresholds(tmp_path / "none.toml", tmp_path)


def test_a_case_that_does_not_exist_is_named_with_the_nearest(tmp_path: Path) -> None:
    """Patterns too: one that fits nothing is a mistake."""
    ids = [case.id for case in all_cases()]
    table = '[cases."{}".train_seconds]\nthreshold = 0.1'
    _thresholds(tmp_path, table.format(MNIST)).check_cases(ids)
    _thresholds(tmp_path, table.format("*-cifar10-*")).check_cases(ids)
    with pytest.raises(UsageError, match="did you mean 'modified_vgg-mnist-28-fast'"):
        _thresholds(tmp_path, table.format("modified_vgg-mnst-28-fast")).check_cases(ids)
    with pytest.raises(UsageError, match=r"there is no case '\*-imagenet-\*'"):
        _thresholds(tmp_path, table.format("*-imagenet-*")).check_cases(ids)
