"""Losses of every step, compared to the last bit: since when two trainings differ."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

import pytest

from cnnperf.compare.drift import drift, drifts
from cnnperf.compare.inputs import Side
from cnnperf.compare.judge import judge
from cnnperf.compare.verdicts import Drift
from cnnperf.record.loading import load_record
from cnnperf.record.schema import CaseRecord, Record, Repeat
from tests.examples import example_case_record, example_record, example_repeat, write_record

LOSSES = [2.25, 1.5, 1.125, 1.0]


def _repeat(losses: list[float] | None, seed: int = 0) -> Repeat:
    return example_repeat(seed).model_copy(update={"step_losses": losses})


def _case(*losses: list[float] | None, seed: int = 0) -> CaseRecord:
    """A case whose repeats have these losses, and seeds that count up."""
    return example_case_record(repeats=[_repeat(each, seed + i) for i, each in enumerate(losses)])


def test_equal_losses_are_identical() -> None:
    """Every step of both, and nothing to say of a difference."""
    assert drifts(_case(LOSSES), _case(list(LOSSES))) == (Drift(seed=0, steps=4),)


@pytest.mark.parametrize("step", [1, 2, 4])
def test_the_first_step_that_differs_is_named_with_both_losses(step: int) -> None:
    """Counted from 1; what comes before it is equal."""
    changed = [*LOSSES[: step - 1], *(loss + 0.25 for loss in LOSSES[step - 1 :])]
    (found,) = drifts(_case(LOSSES), _case(changed))
    assert found.first_difference_step == step
    assert found.base_loss == LOSSES[step - 1]
    assert found.new_loss == LOSSES[step - 1] + 0.25
    assert found.largest_difference == 0.25


@pytest.mark.parametrize("towards", [math.inf, -math.inf])
def test_one_rounding_is_a_difference(towards: float) -> None:
    """It is compared exactly: no tolerance hides a sum in another order."""
    changed = [LOSSES[0], math.nextafter(LOSSES[1], towards), *LOSSES[2:]]
    (found,) = drifts(_case(LOSSES), _case(changed))
    assert found.first_difference_step == 2
    assert found.largest_difference == abs(math.nextafter(1.5, towards) - 1.5) > 0


def test_a_difference_may_grow_and_go() -> None:
    """The first step is where to look; the largest says how much came of it, whatever its sign."""
    (found,) = drifts(_case([4.0, 3.0, 2.0, 1.0]), _case([4.0, 3.5, 0.5, 1.0]))
    assert (found.first_difference_step, found.base_loss, found.new_loss) == (2, 3.0, 3.5)
    assert found.largest_difference == 1.5


def test_what_only_one_of_them_has_is_counted_and_left_alone() -> None:
    """A shortened training is the beginning of the whole one."""
    (shorter,) = drifts(_case(LOSSES), _case(LOSSES[:3]))
    assert shorter == Drift(seed=0, steps=3, base_alone_steps=1)
    (longer,) = drifts(_case(LOSSES[:1]), _case(LOSSES))
    assert longer == Drift(seed=0, steps=1, new_alone_steps=3)


def test_trainings_are_paired_by_their_seed() -> None:
    """In base's order; a seed that one side lacks has nothing to be compared with."""
    base, new = _case([3.0], [2.0], [1.0]), _case([2.5], [1.0], [9.0], seed=1)
    assert [(d.seed, d.first_difference_step) for d in drifts(base, new)] == [(1, 1), (2, None)]
    assert drifts(_case([3.0]), _case([3.0], seed=5)) == ()


def test_of_two_trainings_with_one_seed_the_first_counts() -> None:
    """Pooled records have them; one without losses is none."""
    base = example_case_record(repeats=[_repeat(None), _repeat([2.0]), _repeat([1.0])])
    new = example_case_record(repeats=[_repeat([2.0]), _repeat([5.0])])
    assert drifts(base, new) == (Drift(seed=0, steps=1),)


@pytest.mark.parametrize(
    ("base", "new"), [(None, LOSSES), (LOSSES, None), (None, None), ([], LOSSES), (LOSSES, [])]
)
def test_without_losses_on_both_sides_there_is_nothing_to_say(
    base: list[float] | None, new: list[float] | None
) -> None:
    """As in every record that was not made with --cnnperf-deterministic."""
    assert drifts(_case(base), _case(new)) == ()


@pytest.mark.parametrize(
    ("base", "new", "words"),
    [
        (LOSSES, LOSSES, "seed 7: losses of 4 steps identical"),
        (LOSSES[:1], LOSSES[:1], "seed 7: losses of 1 step identical"),
        (
            [4.0, 3.0, 2.0],
            [4.0, 3.5, 0.5],
            "seed 7: losses first differ at step 2 of 3 by +0.5 (at most 1.5 in any step)",
        ),
        (
            [4.0, 3.0, 2.0, 1.0],
            [4.0, 2.75],
            "seed 7: losses first differ at step 2 of 2 by -0.25 (at most 0.25 in any step); "
            "base has 2 more steps",
        ),
        (
            LOSSES[:2],
            LOSSES,
            "seed 7: losses of 2 steps identical; new has 2 more steps",
        ),
    ],
)
def test_it_is_said_in_one_clause(base: list[float], new: list[float], words: str) -> None:
    """Where to look, by how much, and how far both go."""
    assert drift(7, base, new).describe() == words


def _as_float32(value: float) -> float:
    (rounded,) = struct.unpack("f", struct.pack("f", value))
    return float(rounded)


def _written(record: Record, path: Path) -> Record:
    return load_record(write_record(path, json.loads(record.model_dump_json())))


def test_a_file_keeps_every_bit(tmp_path: Path) -> None:
    """The losses are float32; as decimal numbers of a file they are still the same."""
    losses = [_as_float32(value) for value in (2.3025851, 0.1, 1 / 3, 1e-7, 1e-42, 3.4e38)]
    written = _written(example_record(_case(losses)), tmp_path / "base.json")
    (read,) = written.cases
    assert read.repeats[0].step_losses == losses


def test_a_comparison_of_two_files_has_it(tmp_path: Path) -> None:
    """From the files of two runs to the case's verdicts: equal times, another third step."""
    base = _written(example_record(_case(LOSSES)), tmp_path / "base.json")
    new = _written(example_record(_case([*LOSSES[:2], 1.25, 1.0])), tmp_path / "new.json")
    comparison = judge(Side.of(base, "base.json"), Side.of(new, "new.json"))
    (found,) = comparison.cases[0].drift
    assert found.first_difference_step == 3
    assert found.new_loss == 1.25
