"""What `cnnperf compare` says of files that are no records: one sentence, and exit code 2.

Any two that are records come to a verdict, and every format can show it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnperf.compare.inputs import Side, load_side
from cnnperf.compare.judge import judge
from cnnperf.compare.rules import Rules
from cnnperf.errors import UsageError
from cnnperf.record.files import MAX_FILE_BYTES
from cnnperf.record.schema import Record
from cnnperf.report.formats.comparison import Format, as_text
from tests.commands import run_cnnperf, sentence_of
from tests.examples import (
    example_case_record,
    example_entries,
    example_header,
    example_record,
    example_repeat,
    write_journal,
    write_record,
)
from tests.strategies import mutated, repeats, times

T = TypeVar("T")

EXIT_CODES = {0, 1, 3, 4}
"""Of two records that can be read."""

SAME = example_repeat().model_dump(include={"model_sha256", "dataset_sha256", "precision"})
"""Of all repeats that are drawn, so that their figures are compared, not what was trained."""

REPEATS = [example_repeat(seed, 20.0 + seed / 10) for seed in range(5)]


def _body(**changes: Any) -> dict[str, Any]:
    record = example_record(example_case_record(repeats=REPEATS))
    return {**record.model_dump(mode="json"), **changes}


def _good(folder: Path) -> Path:
    return write_record(folder / "good.json", _body())


def _text(file: Path, text: str | bytes) -> None:
    file.write_bytes(text.encode() if isinstance(text, str) else text)


def _huge(file: Path) -> None:
    with file.open("wb") as opened:
        opened.truncate(MAX_FILE_BYTES + 1)


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "absent": (lambda file: None, "cannot be read: No such file or directory"),
    "folder": (lambda file: file.mkdir(), "has no record: put one a device there"),
    "empty": (lambda file: _text(file, ""), "is empty, expected a file written by"),
    "binary": (lambda file: _text(file, b"PK\x03\x04\xff\xfe\x00"), "is not a JSON text file"),
    "cut off": (
        lambda file: _text(file, json.dumps({"cnnperf": _body()})[:-100]),
        "it seems cut off: copy it again",
    ),
    "huge": (_huge, "has 512 MiB, expected at most 512 MiB"),
    "nested": (lambda file: _text(file, "[" * 100_000), "is nested too deeply"),
    "foreign": (
        lambda file: _text(file, '{"machine_info": {}, "benchmarks": []}'),
        "is pytest-benchmark's alone and holds no key 'cnnperf'",
    ),
    "journal": (
        lambda file: write_journal(file, example_header(), example_entries()),
        "is a run's journal",
    ),
    "older": (
        lambda file: write_record(file, _body(schema_version=0)),
        "has schema version 0, this cnnperf reads from 1 on",
    ),
    "newer": (
        lambda file: write_record(file, _body(schema_version=3)),
        "has schema version 3, this cnnperf reads up to 2",
    ),
    "twice": (
        lambda file: write_record(file, _body(cases=_body()["cases"] * 2)),
        ": cnnperf.cases.1.id: 'modified_vgg-mnist-28-eager' is the id of cnnperf.cases.0 too",
    ),
    "half a character": (
        lambda file: write_record(file, _body(cases=[{**_body()["cases"][0], "id": "a\ud800"}])),
        "surrogates not allowed",
    ),
    "half a character in a key": (
        lambda file: write_record(file, _body(**{"\udfff": 1})),
        "surrogates not allowed",
    ),
    "half a character, not escaped": (
        lambda file: _text(file, b'{"cnnperf": "a\xed\xa0\x80"}'),
        "surrogates not allowed",
    ),
    "wrong field": (
        lambda file: write_record(file, _body(tier="huge")),
        ": cnnperf.tier: Input should be 'smoke', 'standard' or 'full'",
    ),
}
"""Makes the file, and what is said of it after its name."""


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_on_either_side_is_one_sentence(tmp_path: Path, name: str) -> None:
    """With the file and the field, exit code 2, and nothing on standard output."""
    make, complaint = BAD[name]
    good, bad = _good(tmp_path), tmp_path / "bad.json"
    make(bad)
    for files in ((bad, good), (good, bad)):
        sentence = sentence_of(run_cnnperf("compare", *map(str, files), cwd=tmp_path))
        assert sentence.startswith(f"cnnperf: {bad}")
        assert complaint in sentence
        assert sentence.removesuffix("\n").isprintable()


def test_a_bad_file_among_several_is_one_sentence(tmp_path: Path) -> None:
    """Also where it was to be pooled with a good one, written into a file, or exported."""
    good, bad, output = str(_good(tmp_path)), str(tmp_path / "bad.json"), tmp_path / "out.xml"
    Path(bad).write_text("{}")
    for more in (
        ("compare", good, good, "--base", bad),
        ("compare", good, good, "--new", bad, "--format", "junit", "-o", str(output)),
        ("export", bad, "--to", "bencher", "-o", str(output)),
    ):
        sentence = sentence_of(run_cnnperf(*more, cwd=tmp_path))
        assert sentence.startswith(f"cnnperf: {bad} holds no key 'cnnperf': ")
        assert not output.exists()


def test_a_mistyped_name_gets_the_nearest(tmp_path: Path) -> None:
    """Of the files that lie there; nothing is guessed where none is like it."""
    good = str(_good(tmp_path))
    for wrong, told in (("god.json", f" (did you mean {good}?)\n"), ("x", "directory\n")):
        done = run_cnnperf("compare", good, str(tmp_path / wrong), cwd=tmp_path)
        assert sentence_of(done).endswith(told)


def test_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    """Nothing comes out of this one, and nobody closes it."""
    command = [sys.executable, "-m", "cnnperf.cli", "compare", "/dev/stdin", str(_good(tmp_path))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert process.stderr.read().startswith(b"cnnperf: /dev/stdin is a pipe or a device, ")
        assert process.wait() == 2


def test_good_files_are_no_such_thing(tmp_path: Path) -> None:
    """The control: the file that stands beside every bad one is a good one."""
    good = str(_good(tmp_path))
    done = run_cnnperf("compare", good, good, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


# --- fuzzing ------------------------------------------------------------------------------------

fuzzed = settings(max_examples=60)


def _judge_and_show(base: Side, new: Side) -> None:
    """Every format, of two sides of which nothing else is known; or one line that says why not."""
    comparison = _outcome(lambda: judge(base, new, Rules(strict=True)))
    if not isinstance(comparison, str):
        assert comparison.exit_code in EXIT_CODES
        for form in Format:
            assert as_text(comparison, form)


def _outcome(make: Callable[[], T]) -> T | str:
    """What is made, or the one line that says why it cannot be."""
    try:
        return make()
    except UsageError as error:
        sentence = str(error)
    assert sentence.isprintable()
    return sentence


@st.composite
def _pairs(draw: st.DrawFn) -> tuple[Record, Record]:
    """Two records of one case, of which everything else may be anything."""
    sides = []
    for _ in range(2):
        trained = draw(st.lists(repeats, min_size=1, max_size=3))
        alike = [repeat.model_copy(update=SAME) for repeat in trained]
        outcome = draw(st.sampled_from(["passed", "passed", "passed", "failed"]))
        case = example_case_record(repeats=alike, outcome=outcome)
        sides.append(example_record(case, created=draw(times)))
    return sides[0], sides[1]


@given(pair=_pairs())
@fuzzed
def test_any_two_records_come_to_a_verdict_in_every_format(pair: tuple[Record, Record]) -> None:
    """Whatever their texts are, and however large or small their figures."""
    base, new = pair
    _judge_and_show(Side.of(base, "base.json"), Side.of(new, "new.json"))


def _texts(value: Any) -> list[tuple[Any, Any]]:
    """Where the texts of a JSON value are: what holds each, and under which key."""
    keys = value if isinstance(value, dict) else range(len(value))
    found = [(value, key) for key in keys if isinstance(value[key], str)]
    inside = (value[key] for key in keys if isinstance(value[key], dict | list))
    return found + [each for part in inside for each in _texts(part)]


@given(data=st.data(), half=st.characters(categories=["Cs"]), around=st.text(max_size=3))
@fuzzed
def test_half_a_character_anywhere_is_one_sentence(
    tmp_path: Path, data: st.DataObject, half: str, around: str
) -> None:
    """No output could be written with it; a whole one, of two halves, is text like any other."""
    body = _body()
    place, key = data.draw(st.sampled_from(_texts(body)))
    place[key] = around + half
    side = _outcome(lambda: load_side([write_record(tmp_path / "half.json", body)]))
    assert isinstance(side, str)
    assert "surrogates not allowed" in side
    body = _body()
    body["cases"][0]["id"] = "\N{GRINNING FACE}"
    whole = load_side([write_record(tmp_path / "whole.json", body)])
    _judge_and_show(whole, whole)


@given(content=mutated(json.dumps({"cnnperf": _body()})))
@fuzzed
def test_a_spoilt_record_is_refused_or_compared(tmp_path: Path, content: Any) -> None:
    """What still loads can be judged, on either side."""
    good, spoilt = _good(tmp_path), tmp_path / "spoilt.json"
    spoilt.write_text(json.dumps(content))
    side = _outcome(lambda: load_side([spoilt]))
    if isinstance(side, str):
        assert side.startswith(str(spoilt))
        return
    _judge_and_show(load_side([good]), side)
    _judge_and_show(side, load_side([good]))
