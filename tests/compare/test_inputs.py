"""Several files on one side: more repeats of the same cases, or a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cnnperf.compare.inputs import Side, load_side
from cnnperf.errors import UsageError
from cnnperf.record.schema import Record
from tests.examples import (
    example_case,
    example_case_record,
    example_record,
    example_repeat,
    failed_case_record,
    write_record,
)


def _write(path: Path, record: Record) -> Path:
    return write_record(path, json.loads(record.model_dump_json()))


def _run(*seeds: int) -> Record:
    return example_record(example_case_record(repeats=[example_repeat(seed) for seed in seeds]))


def test_several_files_are_more_repeats(tmp_path: Path) -> None:
    """In the order of the files."""
    one = _write(tmp_path / "one.json", _run(0, 1))
    other = _write(tmp_path / "other.json", _run(2))
    side = load_side([one, other])
    (case,) = side.cases.values()
    assert [repeat.seed for repeat in case.repeats] == [0, 1, 2]
    assert side.files == (str(one), str(other))


def test_a_record_given_twice_would_count_twice(tmp_path: Path) -> None:
    """Under another name, too."""
    files = [_write(tmp_path / name, _run(0)) for name in ("a.json", "b.json")]
    with pytest.raises(UsageError, match="are the same record"):
        load_side(files)


def test_files_that_do_not_agree_on_a_case_are_not_pooled() -> None:
    """Another batch size under one id."""
    other = example_case_record(example_case(batch_size=64))
    with pytest.raises(UsageError, match=r"cannot be pooled: .*: batch size 128 against 64"):
        Side.pool([("a.json", example_record()), ("b.json", example_record(other))])


def test_a_failure_in_one_file_is_one() -> None:
    """It is not hidden by another file's success."""
    passed = example_case_record(example_case("modified_resnet"))
    for cases in ([passed, failed_case_record()], [failed_case_record(), passed]):
        named = [(f"{n}.json", example_record(case)) for n, case in enumerate(cases)]
        (case,) = Side.pool(named).cases.values()
        assert case.outcome == "failed"
        assert case.error is not None
