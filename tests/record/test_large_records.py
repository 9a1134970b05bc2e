"""Large records: what a comparison keeps of them gives the same verdicts."""

from __future__ import annotations

import gc
import json
import tracemalloc
from itertools import pairwise
from pathlib import Path

import pytest

from cnnperf.compare.inputs import Side, load_side
from cnnperf.compare.judge import judge
from cnnperf.compare.rules import Rules
from cnnperf.errors import UsageError
from cnnperf.record.loading import load_record
from cnnperf.record.schema import record_as_json
from cnnperf.report.formats.comparison import to_json
from tests.examples import example_record, many_cases, timed_record, write_record
from tests.report.runs import learned_case, learned_repeat, save

REPORTS = sorted((Path(__file__).parents[2] / "reports").rglob("*.json"))

RULES = Rules(across=frozenset({"hardware", "software"}), judge_shortened=True)


@pytest.mark.parametrize(("base", "new"), list(pairwise(REPORTS)), ids=lambda path: path.stem)
def test_lean_record_gives_the_same_verdicts(base: Path, new: Path) -> None:
    """To the last bit, and with the same notes."""
    lean, whole = (
        to_json(judge(load_side([base], lean=lean), load_side([new], lean=lean), RULES))
        for lean in (True, False)
    )
    assert lean == whole


def test_lean_record_still_knows_the_number_of_test_images(tmp_path: Path) -> None:
    """It bounds the noise of accuracies that look as if they had none."""
    paths = [
        write_record(
            tmp_path / f"{accuracy}.json", record_as_json(timed_record([20.0] * 3, [accuracy] * 3))
        )
        for accuracy in (0.98, 0.976)
    ]
    lean, whole = (
        to_json(judge(*(load_side([path], lean=lean) for path in paths))) for lean in (True, False)
    )
    assert lean == whole
    without = [load_record(path) for path in paths]
    for record in without:
        for repeat in record.cases[0].repeats:
            repeat.confusion = None
    sides = (Side.of(record, str(path)) for record, path in zip(without, paths, strict=True))
    assert to_json(judge(*sides)) != whole


def test_lean_record_takes_less_than_half_of_the_memory(tmp_path: Path) -> None:
    """And whole records take less while they are read than the file's plain values would."""
    case = learned_case()
    case.repeats = [learned_repeat(number % 20) for number in range(500)]
    path = save(tmp_path / "run.json", example_record(case))
    load_record(path)  # builds the models' validators
    used: dict[str, tuple[int, int]] = {}
    for name, read in {
        "lean": lambda: load_record(path, lean=True),
        "whole": lambda: load_record(path),
        "plain": lambda: json.loads(path.read_bytes()),
    }.items():
        tracemalloc.start()
        kept = read()
        used[name] = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        del kept
    assert used["lean"][0] < 0.5 * used["whole"][0]
    assert used["lean"][1] < 0.9 * used["plain"][1]


def test_repeats_of_a_file_share_their_settings(tmp_path: Path) -> None:
    path = write_record(tmp_path / "run.json", record_as_json(many_cases(2, repeats=3)))
    repeats = [repeat for case in load_record(path).cases for repeat in case.repeats]
    assert len({id(repeat.settings) for repeat in repeats}) == 1


@pytest.mark.parametrize("lean", [True, False])
def test_wrong_repeat_among_right_ones_is_named_by_its_place(tmp_path: Path, lean: bool) -> None:
    body = record_as_json(many_cases(3, repeats=3))
    body["cases"][1]["repeats"][2]["metrics"]["train_seconds"] = -1
    path = write_record(tmp_path / "run.json", body)
    with pytest.raises(UsageError, match=r"cnnperf\.cases\.1\.repeats\.2\.metrics\.train_seconds"):
        load_record(path, lean=lean)


@pytest.mark.parametrize("content", ["{", '{"cnnperf": {"schema_version": 1, "created": 2}}'])
def test_garbage_collection_goes_on_after_reading(tmp_path: Path, content: str) -> None:
    """Also after a file that cannot be read."""
    path = tmp_path / "run.json"
    path.write_text(content)
    with pytest.raises(UsageError):
        load_record(path)
    assert gc.isenabled()
