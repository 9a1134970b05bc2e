"""Bounds that decide: the floor, the length of a calibrated training, and the limit of outliers."""

from __future__ import annotations

from datetime import UTC, datetime

from cnnperf.compare.calibration import Calibration, CaseNoise, Noise
from cnnperf.compare.history.steps import find_steps
from cnnperf.compare.samples import Sample
from cnnperf.compare.thresholds import JUDGED, MetricRule
from cnnperf.record.environment import Hardware


def test_accuracy_equal_to_the_floor_is_not_below_it() -> None:
    """Only the smaller of the two trainings is."""
    sample = Sample(
        case_id="case",
        metric="test_accuracy",
        base=(0.97,),
        new=(0.97, 0.96),
        paired=False,
        judged=JUDGED["test_accuracy"],
        rule=MetricRule(threshold=0.005, floor=0.97, gate=True),
        trainings=(0.97, 0.96),
    )
    assert sample.below_floor == 1


def test_noise_of_full_trainings_is_not_used_for_shortened_ones() -> None:
    """Their noise differs."""
    noise = Noise(n=2, mean=1.0, sd=0.1, smallest_change=0.2)
    calibration = Calibration(
        created=datetime(2026, 1, 2, tzinfo=UTC),
        hardware=Hardware(),
        cases={"case": CaseNoise(metrics={"train_seconds": noise})},
    )
    assert calibration.noise("case", "train_seconds") == 0.1
    assert calibration.noise("case", "train_seconds", shortened=True) is None


def test_value_seven_standard_deviations_away_is_an_outlier() -> None:
    """Neighbours differ by 1, which is a standard deviation of 1.05."""
    values = [0.0, 1.0] * 10
    values[10] = 8.0
    assert find_steps(values, limit=1.0).outliers == {10}
