"""Tables of the suites on a page: what two runs of the same cases look like."""

from __future__ import annotations

import math

import pytest
from scipy import stats

from cnnperf.record.efficiency import add_efficiency
from cnnperf.record.group import Group, RankTimes
from cnnperf.record.schema import CaseRecord, Record
from cnnperf.report.terminal.run import render, run_summary
from tests.examples import example_case, example_case_record, example_record, example_repeat
from tests.report.page_parts import data_of, figure_of, page_of, table_of, values_of


def _peers(*rates: float) -> Record:
    """An engine `plain` in two groups with these images per second."""
    cases = [
        example_case(model, name="peers").model_copy(update={"engine": "plain", "suite": "peers"})
        for model in ("modified_vgg", "modified_resnet")
    ]
    return example_record(
        *(
            example_case_record(case, repeats=[example_repeat(images_per_second=rate)])
            for case, rate in zip(cases, rates, strict=True)
        )
    )


def test_base_and_new_of_one_group_are_beside_each_other() -> None:
    """The first group of both runs, then the second."""
    rows = values_of(table_of(page_of(_peers(1.0, 2.0), _peers(3.0, 4.0)), "table-peers"))
    assert [(row["run"], row["images_per_second"]) for row in rows] == [
        ("base", 1.0), ("new", 3.0), ("base", 2.0), ("new", 4.0)
    ]  # fmt: skip


RATES = {1: [1000.0, 1010.0, 990.0], 2: [1900.0, 1880.0, 1910.0], 4: [3000.0, 3300.0, 3150.0]}


def _scaled(devices: int) -> CaseRecord:
    """A case on so many devices, the last of which computes a tenth longer."""
    case = example_case().model_copy(update={"devices": devices, "suite": "scaling"})
    ranks = [
        RankTimes(rank=rank, device="cpu", compute_seconds_per_step=0.08)
        for rank in range(devices - 1)
    ] + [RankTimes(rank=devices - 1, device="cpu", compute_seconds_per_step=0.088)]
    group = Group(devices=devices, step_seconds=0.1, ranks=ranks)
    repeats = [
        example_repeat(seed, images_per_second=rate).model_copy(update={"group": group})
        for seed, rate in enumerate(RATES[devices])
    ]
    return example_case_record(case, repeats=repeats, devices=devices)


@pytest.fixture
def scaled() -> Record:
    """A run on one, two and four devices."""
    cases = [_scaled(devices) for devices in RATES]
    add_efficiency(cases)
    return example_record(*cases)


def test_efficiency_has_the_interval_of_its_pairs(scaled: Record) -> None:
    """That of a paired t-test on logarithms; the curve on the page has the same figures."""
    logs = [math.log(many / one / 4) for one, many in zip(RATES[1], RATES[4], strict=True)]
    middle = sum(logs) / 3
    reach = stats.t.ppf(0.975, 2) * stats.tstd(logs) / math.sqrt(3)
    expected = [math.exp(middle + sign * reach) for sign in (-1, 0, 1)]
    page = page_of(scaled)
    row = values_of(table_of(page, "table-scaling"))[-1]
    assert row["scaling_efficiency"] == pytest.approx(expected[1])
    assert row["speed_up"] == pytest.approx(4 * expected[1])
    (point,) = [
        each
        for each in data_of(
            figure_of(page, "scaling-modified-vgg-mnist-28-pixels-recipe-report-engine-eager")
        )
        if each["role"] == "measured" and each["devices"] == 4
    ]
    drawn = [point["low"], point["speed_up"], point["high"]]
    assert drawn == pytest.approx([4 * each for each in expected])


def test_terminal_says_where_time_goes_and_who_is_slow(scaled: Record) -> None:
    """Of 100 ms, four ranks compute 82 on average, and the slowest 6 more."""
    text = render(run_summary(scaled), width=140, color=False)
    rows = [line.split() for line in text.splitlines()]
    (alone,) = (row for row in rows if row[:2] == ["1", "—"])
    (last,) = (row for row in rows if row[:2] == ["4", "strong"])
    assert alone[2:] == ["1,000", "1.00", "x", "—", "88%", "0%", "12%", "0%"]
    assert last[2:5] == ["3,150", "3.15", "x"]
    assert last[-9:] == ["82%", "6%", "12%", "0%", "rank", "3", "(3", "of", "3)"]
