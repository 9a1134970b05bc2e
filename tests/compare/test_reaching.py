"""Time to accuracy, where some trainings never got there."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from cnnperf.compare.inputs import Side
from cnnperf.compare.judge import judge
from cnnperf.compare.rules import Rules
from cnnperf.compare.verdicts import MetricVerdict
from cnnperf.record.schema import CaseRecord
from tests.examples import example_case_record, example_record, example_repeat

STEADY = (10.0, 10.1, 9.9, 10.05, 9.95)
FAST = (5.0, 5.05, 4.95, 5.02, 4.98)


def _case(times: Sequence[float | None], **fields: bool) -> CaseRecord:
    repeats = [
        example_repeat(seed, 20.0, time_to_accuracy_seconds=time) for seed, time in enumerate(times)
    ]
    return example_case_record(repeats=repeats, **fields)


def _verdict(base: CaseRecord, new: CaseRecord, **rules: bool) -> MetricVerdict | None:
    sides = (Side.of(example_record(case), "record.json") for case in (base, new))
    return judge(*sides, Rules(**rules)).cases[0].metrics.get("time_to_accuracy_seconds")


def test_where_all_got_there_their_times_are_compared() -> None:
    """The control, for all below."""
    verdict = _verdict(_case(STEADY), _case(FAST))
    assert verdict is not None
    assert verdict.verdict == "faster"


@pytest.mark.parametrize("missed", [1, 2, 3])
def test_a_side_that_did_not_always_get_there_is_not_faster(missed: int) -> None:
    """However fast the others were: what is left of them leaves out the slowest."""
    new = _case([*FAST[missed:], *[None] * missed])
    verdict = _verdict(_case(STEADY), new)
    assert verdict is not None
    assert verdict.verdict == "inconclusive"
    assert not verdict.rules_out_regression
    assert (verdict.ratio, verdict.low, verdict.n_new) == (None, None, 5 - missed)
    assert verdict.reason == (
        f"{5 - missed} of 5 trainings of new reached the target accuracy, 5 of 5 of base"
    )


def test_a_side_that_never_got_there_is_worse() -> None:
    """Of ten trainings exactly those five: 1 in 252 by chance."""
    verdict = _verdict(_case(STEADY), _case([None] * 5))
    assert verdict is not None
    assert verdict.verdict == "worse"
    assert verdict.p_value == pytest.approx(1 / 252)
    assert verdict.reason is not None
    assert verdict.reason.startswith("none of 5 trainings of new")


def test_three_trainings_are_too_few_to_say_so() -> None:
    """1 in 20 by chance."""
    verdict = _verdict(_case(STEADY[:3]), _case([None] * 3))
    assert verdict is not None
    assert verdict.verdict == "inconclusive"


def test_a_side_that_gets_there_at_last_is_better() -> None:
    """Base has no figure then, which is no reason to be silent."""
    verdict = _verdict(_case([None] * 5), _case(STEADY))
    assert verdict is not None
    assert verdict.verdict == "better"
    assert verdict.reason == (
        "5 of 5 trainings of new reached the target accuracy, none of 5 of base"
    )


def test_where_nobody_got_there_nothing_is_said() -> None:
    """There may be no target: the data set has none, or the training is a sample."""
    assert _verdict(_case([None] * 5), _case([None] * 5)) is None


def test_a_seed_that_was_trained_twice_must_get_there_twice() -> None:
    """And counts once."""
    base = _case(STEADY)
    again = _case([*FAST[:4], None]).repeats
    new = base.model_copy(update={"repeats": [*_case(FAST).repeats, *again]})
    verdict = _verdict(base, new)
    assert verdict is not None
    assert verdict.reason is not None
    assert verdict.reason.startswith("4 of 5 trainings of new")


def test_a_shortened_training_need_not_get_there() -> None:
    """Nobody wanted it to."""
    verdict = _verdict(_case(STEADY, shortened=True), _case([None] * 5, shortened=True))
    assert verdict is not None
    assert (verdict.verdict, verdict.gates) == ("shortened", False)
