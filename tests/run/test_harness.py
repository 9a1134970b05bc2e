"""What the suite itself costs: reckoned from moments, kept in the record, shown in a table."""

from __future__ import annotations

import re

import pytest

from cnnperf.catalog.cases import ONE_STEP
from cnnperf.record.harness import HarnessTimes
from cnnperf.record.schema import CaseRecord, Repeat
from cnnperf.report.suites import HARNESS_LABELS
from cnnperf.report.terminal.run import render, run_summary
from cnnperf.run.repeat import Moments, clock_flags, harness_times, own_seconds
from tests.examples import (
    example_case,
    example_case_record,
    example_record,
    example_repeat,
    plain_terminal,
)

MOMENTS = Moments(
    spawned=100.0,
    began=100.25,
    imported=103.25,
    ready=103.75,
    ready_heard=103.875,
    go=104.0,
    clock_started=104.0625,
    clock_stopped=114.0625,
    trained_heard=114.1875,
    result_heard=115.1875,
    ended=115.6875,
)
"""A training of 10 s; all are sums of powers of two, so that differences are exact."""

TIMES = HarnessTimes(
    start_seconds=0.25,
    import_seconds=3.0,
    prepare_seconds=0.5,
    ready_latency_seconds=0.125,
    arm_seconds=0.125,
    go_latency_seconds=0.0625,
    trained_latency_seconds=0.125,
    result_seconds=1.0,
    exit_seconds=0.5,
    clocks_apart_seconds=0.1875,
)
"""Worked out from them by hand."""


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    plain_terminal(monkeypatch)


def one_step(*repeats: Repeat) -> CaseRecord:
    """A case that trains next to nothing."""
    case = example_case(dataset="synthetic", **ONE_STEP.model_dump())
    return example_case_record(case, repeats, suite="harness")


def with_times(seed: int = 0, **changes: float) -> Repeat:
    """A repeat that has these times."""
    return example_repeat(seed).model_copy(update={"harness": TIMES.model_copy(update=changes)})


def summary(*cases: CaseRecord, width: int = 80) -> str:
    return render(run_summary(example_record(*cases)), width=width, color=False)


# --- from moments to times ----------------------------------------------------------------------


def test_times_are_the_spans_between_moments() -> None:
    """Each by hand; the clocks are apart by what `go` and `trained` were on their way."""
    assert harness_times(MOMENTS) == TIMES


def test_own_seconds_exclude_engine_and_test_set() -> None:
    """0.25 + 3 + 0.125 + 0.125 + 0.0625 + 0.125 + 0.5: neither preparing nor what follows."""
    assert own_seconds(TIMES) == 4.1875


def test_clocks_of_different_origin_give_a_negative_time() -> None:
    """A worker an hour behind: what one end loses the other gains, and the record can hold it."""
    theirs = ("began", "imported", "ready", "clock_started", "clock_stopped")
    behind = {name: getattr(MOMENTS, name) - 3600 for name in theirs}
    times = harness_times(Moments(**{**vars(MOMENTS), **behind}))
    assert times.go_latency_seconds == TIMES.go_latency_seconds - 3600
    assert times.trained_latency_seconds == TIMES.trained_latency_seconds + 3600
    assert times.clocks_apart_seconds == TIMES.clocks_apart_seconds
    assert own_seconds(times) == 4.1875
    assert HarnessTimes.model_validate_json(times.model_dump_json()) == times


# --- the table ----------------------------------------------------------------------------------


def test_every_time_has_a_row_in_the_table() -> None:
    """In the order in which the record has them, which is that of time."""
    assert list(HARNESS_LABELS) == list(HarnessTimes.model_fields)


@pytest.mark.parametrize("width", [80, 120])
def test_harness_table_has_medians_and_maxima(width: int) -> None:
    """Of imports of 3, 4 and 9 seconds the median is 4, and 9 the largest."""
    repeats = [with_times(seed, import_seconds=s) for seed, s in enumerate((3.0, 9.0, 4.0))]
    lines = summary(one_step(*repeats), width=width).splitlines()
    heading = "modified_vgg-synthetic-28-onestep-eager: time of the suite itself, 3 trainings"
    table = lines[lines.index(heading) :]
    rows = [re.split(" {2,}", line.strip()) for line in table]
    assert ["imports", "4.00 s", "9.00 s"] in rows
    assert ["message `go` to the worker", "62.50 ms", "62.50 ms"] in rows
    assert set(HARNESS_LABELS.values()) <= {row[0] for row in rows}


def test_case_of_another_suite_has_no_harness_table() -> None:
    """Their times are in the record alone."""
    assert "time of the suite itself" not in summary(example_case_record(repeats=[with_times()]))


def test_record_without_harness_times_has_no_harness_table() -> None:
    """As older ones are."""
    assert "time of the suite itself" not in summary(one_step(example_repeat()))
    assert "time of the suite itself" not in summary(one_step())


def test_control_characters_in_an_id_are_shown_not_obeyed() -> None:
    """A case's id comes out of a file."""
    case = one_step(with_times()).model_copy(update={"id": "\x1b[2Jgone"})
    text = summary(case)
    assert "time of the suite itself" in text
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("outside_seconds", "flagged"),
    [(9.7, True), (9.8, False), (10.0, False), (10.4, False), (10.5, True), (None, False)],
)
def test_clocks_that_disagree_in_either_direction_are_flagged(
    outside_seconds: float | None, flagged: bool
) -> None:
    """A worker that measured 10 s may be 0.25 s above its parent, or 0.25 s and 2 % below it."""
    kinds = [flag.kind for flag in clock_flags(10.0, outside_seconds)]
    assert kinds == ["clocks_disagree"] * flagged
