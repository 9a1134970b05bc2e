"""How every number is named, written and judged."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cnnperf.record.metrics import (
    ABSENT,
    METRICS,
    format_bytes,
    format_flops,
    format_joules,
    format_percent,
    format_plain,
    format_rate,
    format_seconds,
    format_share,
    show,
)
from cnnperf.record.schema import Metrics

UNIT_OF_SUFFIX = {"_seconds": "s", "_bytes": "B", "_joules": "J", "_fraction": "1"}


def test_every_field_of_a_repeat_is_described_and_every_description_has_a_field() -> None:
    """A metric cannot be recorded without a name, unit and format, nor described in vain."""
    assert METRICS
    assert set(METRICS) == set(Metrics.model_fields)


@pytest.mark.parametrize("name", METRICS)
def test_a_description_is_complete(name: str) -> None:
    """Head of column, unit and a line for people, under the field's own name."""
    metric = METRICS[name]
    assert metric.name == name
    assert metric.label
    assert metric.unit
    assert len(metric.meaning.split()) > 2
    assert "\n" not in metric.meaning


def test_no_two_columns_have_the_same_head() -> None:
    """A table that shows both can be read."""
    labels = [metric.label for metric in METRICS.values()]
    assert len(labels) == len(set(labels))


@pytest.mark.parametrize(("suffix", "unit"), UNIT_OF_SUFFIX.items())
def test_the_unit_is_the_one_in_the_name(suffix: str, unit: str) -> None:
    """`train_seconds` is in seconds."""
    named = [metric for name, metric in METRICS.items() if name.endswith(suffix)]
    assert named
    assert {metric.unit for metric in named} == {unit}


def test_less_time_and_memory_and_loss_is_better() -> None:
    """Gates read the direction from here."""
    costs = [n for n in METRICS if "seconds" in n and "per_second" not in n]
    costs += ["peak_memory_bytes", "energy_joules", "test_loss", "data_wait_fraction"]
    assert {METRICS[name].better for name in costs} == {"lower"}


def test_more_accuracy_and_speed_is_better() -> None:
    """Gates read the direction from here."""
    gains = ["test_accuracy", "test_f1_macro", "val_accuracy", "images_per_second"]
    gains += ["flops_per_second", "mfu"]
    assert {METRICS[name].better for name in gains} == {"higher"}


def test_only_a_property_of_the_model_has_no_better_direction() -> None:
    """Everything that is measured can be judged."""
    undirected = [name for name, metric in METRICS.items() if metric.better is None]
    assert undirected == ["training_flops_per_image"]


@pytest.mark.parametrize("name", METRICS)
def test_what_was_not_measured_is_a_dash(name: str) -> None:
    """Absent is None, and never shown as 0."""
    assert show(name, None) == ABSENT == "—"


@pytest.mark.parametrize("name", METRICS)
def test_zero_is_shown_as_a_number(name: str) -> None:
    """Zero was measured."""
    assert show(name, 0).startswith("0")


@pytest.mark.parametrize(
    ("formatter", "value", "text"),
    [
        (format_seconds, 0.0, "0.00 ms"),
        (format_seconds, 0.0123456, "12.35 ms"),
        (format_seconds, 0.0999, "99.90 ms"),
        (format_seconds, 0.1, "0.10 s"),
        (format_seconds, 9.994, "9.99 s"),
        (format_seconds, 10, "10.0 s"),
        (format_seconds, 99.94, "99.9 s"),
        (format_seconds, 100, "100 s"),
        (format_seconds, 599.4, "599 s"),
        (format_seconds, 600, "10 min 00 s"),
        (format_seconds, 3460, "57 min 40 s"),
        (format_seconds, 3599.99, "59 min 59 s"),
        (format_seconds, 3600, "1 h 00 min"),
        (format_seconds, 90_061, "25 h 01 min"),
        (format_percent, 0.9899, "98.99 %"),
        (format_percent, 1, "100.00 %"),
        (format_share, 0.3125, "31.2 %"),
        (format_bytes, 1023, "1023 B"),
        (format_bytes, 1024, "1 KiB"),
        (format_bytes, 300 * 2**20, "300 MiB"),
        (format_bytes, 2**30, "1.00 GiB"),
        (format_bytes, 1_610_612_736, "1.50 GiB"),
        (format_rate, 0.5, "0.50"),
        (format_rate, 10, "10.0"),
        (format_rate, 99.94, "99.9"),
        (format_rate, 100, "100"),
        (format_rate, 24_000, "24,000"),
        (format_flops, 999, "999"),
        (format_flops, 999.6, "1 k"),
        (format_flops, 4.1e11, "410 G"),
        (format_flops, 999_400, "999 k"),
        (format_flops, 999_999, "1 M"),
        (format_flops, 1e12, "1 T"),
        (format_flops, 9.89e14, "989 T"),
        (format_joules, 9_999, "9,999 J"),
        (format_joules, 10_000, "10.0 kJ"),
        (format_joules, 2_456_700, "2,456.7 kJ"),
        (format_plain, 0.0312345, "0.03123"),
    ],
)
def test_a_number_is_written_with_its_unit(
    formatter: Callable[[float], str], value: float, text: str
) -> None:
    """Worked out by hand, on both sides of each border between units."""
    assert formatter(value) == text


def test_a_rounded_number_never_turns_into_an_exponent() -> None:
    """A FLOP count just below a prefix is written with the prefix above."""
    for exponent in range(18):
        text = format_flops(10.0**exponent * 0.9999)
        assert "e" not in text, exponent
