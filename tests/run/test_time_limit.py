"""Which training still fits into what is left of a run."""

from __future__ import annotations

import time

import pytest

from cnnperf.record.harness import HarnessTimes
from cnnperf.record.schema import Inference
from cnnperf.run.time_limit import OutOfTimeError, TimeLimit, lifetime_seconds
from tests.examples import example_repeat

SPANS = dict.fromkeys(HarnessTimes.model_fields, 1.0)


def _limit(minutes_left: float) -> TimeLimit:
    """A limit of ten minutes of which so much is left."""
    return TimeLimit(10, started=time.monotonic() - 60 * (10 - minutes_left))


def test_without_a_limit_every_training_fits() -> None:
    """Whatever it takes."""
    limit = TimeLimit(None)
    limit.note("a", example_repeat(train_seconds=1e9))
    limit.check("a", 1e9)
    assert not limit.reached
    assert not limit.is_over


def test_case_that_took_longer_than_the_time_left_is_not_started() -> None:
    """By the longest of its kind: an overrun costs a whole training."""
    limit = _limit(1)
    limit.note("a", example_repeat(train_seconds=70))
    limit.note("a", example_repeat(train_seconds=30))
    limit.note("b", example_repeat(train_seconds=30))
    with pytest.raises(OutOfTimeError, match=r" s are left .* took up to 70.0 s"):
        limit.check("a", 1.0)
    assert limit.reached
    limit.check("b", 1e9)  # what was measured outweighs any guess


def test_estimate_does_not_prevent_the_first_training() -> None:
    """It may be far too high, and the run would never get anywhere; later ones it does keep."""
    limit = _limit(1)
    limit.check("a", 1000.0)
    with pytest.raises(OutOfTimeError, match="takes roughly"):
        limit.check("b", 1000.0)
    limit.check("c", None)


def test_nothing_is_started_after_the_end() -> None:
    """Not even a first training."""
    limit = _limit(-1)
    assert limit.is_over
    with pytest.raises(OutOfTimeError, match="no time is left"):
        limit.check("a", None)


def test_lifetime_of_a_repeat_adds_the_harness_spans() -> None:
    """Nine spans; what the clocks are apart is none. Without them, what the metrics tell."""
    repeat = example_repeat(train_seconds=20.0, startup_seconds=7.0, test_seconds=2.0)
    assert lifetime_seconds(repeat) == 29.0
    assert len(SPANS) == 10
    whole = repeat.model_copy(update={"harness": HarnessTimes(**SPANS)})
    assert lifetime_seconds(whole) == 29.0
    measuring = repeat.model_copy(update={"inference": Inference(seconds=40.0)})
    assert lifetime_seconds(measuring) == 69.0
