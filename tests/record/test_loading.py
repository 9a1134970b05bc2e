"""Reading a record from a file that may be anything: one line says what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cnnperf.errors import UsageError
from cnnperf.record.loading import MAX_DIGITS, load_quickly, load_record
from cnnperf.record.schema import SCHEMA_VERSION
from tests.examples import (
    example_case,
    example_case_record,
    example_entries,
    example_header,
    example_record,
    example_repeat,
    write_journal,
    write_record,
)
from tests.refusals import refusal_of


def test_a_missing_file_and_a_folder_are_refused_with_the_systems_reason(tmp_path: Path) -> None:
    """The system's own words, as in other tools."""
    assert refusal_of(tmp_path / "none.json").endswith("cannot be read: No such file or directory")
    assert refusal_of(tmp_path).endswith("cannot be read: Is a directory")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b'{\n "cnnperf": {,}\n}', "is not valid JSON (line 2, column 14"),
        (
            b'{"cnnperf": {"cases": [1,]}}',
            "column 26: Expecting value); expected a file written by",
        ),
        (
            b'{"cnnperf": {} "x": 1}',
            "column 16: Expecting ',' delimiter); expected a file written by",
        ),
        (
            b"run 1 was slow",
            "(line 1, column 1: Expecting value); expected a file written by",
        ),
        (b"\x89PNG\r\n\x1a\n\x00", "is not a JSON text file"),
        (
            b'{"cnnperf": "caf\xe9"}',
            "is not a JSON text file: 'utf-8' codec can't decode",
        ),
        (bytes(range(256)), "is not "),
        (b"[" * 200_000, "is nested too deeply"),
    ],
)
def test_invalid_json_is_refused_with_line_and_column(
    tmp_path: Path, content: bytes, complaint: str
) -> None:
    """Line and column where there are some; never a traceback."""
    file = tmp_path / "run.json"
    file.write_bytes(content)
    assert complaint in refusal_of(file)


@pytest.mark.parametrize("depth", [100, 300, 900, 950, 990, 1000, 5000])
def test_deep_nesting_inside_a_record_is_one_sentence(tmp_path: Path, depth: int) -> None:
    """Some of these depths are more than Python can parse, show or compare."""
    file = tmp_path / "run.json"
    file.write_text('{"cnnperf": {"cases": ' + "[" * depth + "]" * depth + "}}")
    refusal_of(file)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("[]", "holds no object, found []: "),
        ("3", "holds no object, found 3: "),
        ("null", "holds no object, found None: "),
        ('"\\u001b[31m"', "holds no object, found '\\x1b[31m': "),
        ("{}", "holds no key 'cnnperf': "),
        ('{"cases": [], "schema_version": 1}', "holds no key 'cnnperf': "),
        (
            '{"machine_info": {}, "benchmarks": [{"name": "x"}]}',
            "is pytest-benchmark's alone and holds no key 'cnnperf': ",
        ),
    ],
)
def test_a_file_without_a_record_names_the_command_that_writes_one(
    tmp_path: Path, content: str, complaint: str
) -> None:
    """pytest-benchmark writes such a file where cnnperf is not installed."""
    file = tmp_path / "run.json"
    file.write_text(content)
    text = refusal_of(file)
    assert complaint in text
    assert text.endswith("`pytest benchmarks --benchmark-json` wrote with cnnperf installed")


@pytest.mark.parametrize("body", [[], None, 3, "text"])
def test_a_record_that_is_no_object_is_named_as_such(tmp_path: Path, body: object) -> None:
    """The field is the record itself."""
    text = refusal_of(write_record(tmp_path / "run.json", body))
    assert ": cnnperf: Input should be a valid dictionary" in text


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        ("tier", "huge", "cnnperf.tier: Input should be 'smoke', 'standard' or 'full'"),
        ("created", "yesterday", "cnnperf.created: Input should be a valid datetime"),
        ("created", "2026-01-01T00:00:00", "cnnperf.created: Input should have timezone info"),
        ("schema_version", "1", "cnnperf.schema_version: Input should be 1 or 2, found '1'"),
        ("cases", {}, "cnnperf.cases: Input should be a valid list, found {}"),
        (
            "cases.0.outcome",
            "won",
            "cnnperf.cases.0.outcome: Input should be 'passed', 'failed'",
        ),
        (
            "cases.0.repeats.0.metrics.train_seconds",
            "fast",
            "cnnperf.cases.0.repeats.0.metrics.train_seconds: Input should be a valid number, "
            "found 'fast'",
        ),
        (
            "cases.0.repeats.0.metrics.test_accuracy",
            99.0,
            "metrics.test_accuracy: Input should be less than or equal to 1, found 99.0",
        ),
        ("environment.hardware.gpu", "H200", "cnnperf.environment.hardware.gpu: Input should be"),
        ("cases.0.repeats.0.metrics", None, "metrics: Input should be a valid dictionary"),
    ],
)
def test_a_wrong_field_is_named_with_what_was_found_and_expected(
    tmp_path: Path, path: str, value: object, complaint: str
) -> None:
    """File, field, expectation, finding: all in one sentence."""
    body = example_record().model_dump(mode="json")
    *parents, last = path.split(".")
    place: Any = body
    for parent in parents:
        place = place[int(parent) if parent.isdigit() else parent]
    place[last] = value
    assert complaint in refusal_of(write_record(tmp_path / "run.json", body))


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    """The message says that it is required."""
    body = example_record().model_dump(mode="json")
    del body["cases"][0]["repeats"][0]["metrics"]["train_seconds"]
    text = refusal_of(write_record(tmp_path / "run.json", body))
    assert "cases.0.repeats.0.metrics.train_seconds: Field required" in text


def test_several_wrong_fields_are_counted(tmp_path: Path) -> None:
    """The first is described, the others are counted."""
    body = {**example_record().model_dump(mode="json"), "tier": 3, "interrupted": "perhaps"}
    assert refusal_of(write_record(tmp_path / "run.json", body)).endswith("(and 1 more)")


def test_hostile_text_in_a_file_cannot_steer_the_terminal(tmp_path: Path) -> None:
    """What is found is quoted, cut and free of escape sequences."""
    body = {**example_record().model_dump(mode="json"), "tier": "\x1b]0;owned\x07" + "x" * 10_000}
    assert "cnnperf.tier: Input should be" in refusal_of(write_record(tmp_path / "run.json", body))


def test_a_million_wrong_items_are_one_sentence_without_a_gigabyte(tmp_path: Path) -> None:
    """A list is given up at its first wrong item: to describe each took 1.4 GB for 3 MB of them."""
    resource = pytest.importorskip("resource")
    body = {**example_record().model_dump(mode="json"), "cases": [0] * 1_000_000}
    file = write_record(tmp_path / "run.json", body)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "cnnperf.cases.0: " in refusal_of(file)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000


def test_a_newer_schema_version_asks_for_an_update(tmp_path: Path) -> None:
    """Whatever else is new in it: nothing else is looked at."""
    file = write_record(tmp_path / "run.json", {"schema_version": 7, "tier": "galactic"})
    assert refusal_of(file) == (
        f"{file} has schema version 7, this cnnperf reads up to {SCHEMA_VERSION}: update cnnperf"
    )


@pytest.mark.parametrize("version", [0, -1, -(10**200)])
def test_an_older_schema_version_names_the_versions_that_load(tmp_path: Path, version: int) -> None:
    """Nothing else is looked at here either: its fields may have meant something else."""
    text = refusal_of(write_record(tmp_path / "run.json", {"schema_version": version, "tier": 3}))
    assert " has schema version " in text
    assert text.endswith(
        "this cnnperf reads from 1 on: make the record again, or use the cnnperf that wrote it"
    )


@pytest.mark.parametrize("version", [{}, {"schema_version": None}])
def test_a_record_without_a_schema_version_is_refused(
    tmp_path: Path, version: dict[str, None]
) -> None:
    """It could mean anything."""
    body = example_record().model_dump(mode="json", exclude={"schema_version"})
    text = refusal_of(write_record(tmp_path / "run.json", {**body, **version}))
    assert ": cnnperf.schema_version is missing, expected 2: " in text


@pytest.mark.parametrize(
    ("literal", "found"),
    [("NaN", "nan"), ("Infinity", "inf"), ("-Infinity", "-inf"), ("1e999", "inf")],
)
def test_what_is_no_finite_number_is_refused(tmp_path: Path, literal: str, found: str) -> None:
    """Python's JSON reads it, a record does not."""
    text = example_record().model_dump_json()
    file = tmp_path / "run.json"
    file.write_text(
        '{"cnnperf": ' + text.replace('"train_seconds":20.0', f'"train_seconds":{literal}') + "}"
    )
    assert f"train_seconds: Input should be a finite number, found {found}" in refusal_of(file)


@pytest.mark.parametrize("half", [b"\\ud800", b"\\uDFFF", "\ud800".encode(errors="surrogatepass")])
def test_half_a_character_is_refused(tmp_path: Path, half: bytes) -> None:
    """Half of a surrogate pair, escaped or not: no file and no terminal could show it."""
    file = tmp_path / "run.json"
    whole = json.dumps({"cnnperf": example_record().model_dump(mode="json")}).encode()
    file.write_bytes(whole.replace(b'"modified_vgg"', b'"' + half + b'"'))
    assert "surrogates not allowed" in refusal_of(file)


def test_a_whole_character_of_two_halves_loads(tmp_path: Path) -> None:
    """JSON escapes characters beyond U+FFFF as a pair."""
    record = example_record(example_case_record().model_copy(update={"id": "\N{GRINNING FACE}"}))
    file = write_record(tmp_path / "run.json", record.model_dump(mode="json"))
    assert b"\\ud83d\\ude00" in file.read_bytes()
    assert load_record(file) == record


def test_half_a_character_outside_the_record_does_not_matter(tmp_path: Path) -> None:
    """pytest-benchmark may write one, such as in the name of a branch."""
    file = write_record(tmp_path / "run.json", example_record().model_dump(mode="json"))
    content = {**json.loads(file.read_text()), "commit_info": {"branch": "\udc80"}}
    file.write_text(json.dumps(content))
    assert load_record(file) == example_record()


@pytest.mark.parametrize("digits", [MAX_DIGITS + 1, 400, 5000])
def test_a_number_of_too_many_digits_is_refused(tmp_path: Path, digits: int) -> None:
    """A later division would overflow: no float is that large."""
    file = write_record(tmp_path / "run.json", example_record().model_dump(mode="json"))
    text, old = file.read_text(), '"memory_bytes": null, "virtualization"'
    assert old in text
    file.write_text(text.replace(old, old.replace("null", "9" * digits)))
    assert "cnnperf.environment.hardware.memory_bytes: " in refusal_of(file)


def test_the_longest_number_still_fits_a_float(tmp_path: Path) -> None:
    """A number of `MAX_DIGITS` digits loads."""
    body = example_record().model_dump(mode="json")
    body["environment"]["hardware"]["memory_bytes"] = int("9" * MAX_DIGITS)
    record = load_record(write_record(tmp_path / "run.json", body))
    assert float(record.environment.hardware.memory_bytes or 0) > 0


@pytest.mark.parametrize("content", [b"", b" \n\n", b"\t" * 70_000])
def test_an_empty_file_points_to_the_journal(tmp_path: Path, content: bytes) -> None:
    """pytest-benchmark creates its file at once: a run that is killed leaves it like that."""
    file = tmp_path / "run.json"
    file.write_bytes(content)
    text = refusal_of(file)
    assert " is empty, expected a file written by --benchmark-json: " in text
    assert "`cnnperf recover JOURNAL -o FILE`" in text


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_file_in_another_encoding_of_unicode_loads(tmp_path: Path, encoding: str) -> None:
    """Some editors and shells put a mark in front, or take two bytes for every letter."""
    file = tmp_path / "run.json"
    record = example_record()
    file.write_text('{"cnnperf": ' + record.model_dump_json() + "}", encoding=encoding)
    assert load_record(file) == record


@pytest.mark.parametrize("repeats", [0, 2])
def test_a_journal_in_place_of_a_record_names_the_command_recover(
    tmp_path: Path, repeats: int
) -> None:
    """A journal of one line is JSON, one of several lines is not."""
    entries = example_entries(repeats) if repeats else []
    journal = write_journal(tmp_path / "run.journal.jsonl", example_header(), entries)
    assert refusal_of(journal) == (
        f"{journal} is a run's journal, expected a file written by --benchmark-json: "
        f"`cnnperf recover {journal} -o FILE` makes a record of it"
    )


def test_a_case_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    """The message has both places: which of the two counts is unknown."""
    other = example_case_record(example_case("modified_resnet"))
    record = example_record(example_case_record(), other, example_case_record())
    text = refusal_of(write_record(tmp_path / "run.json", record.model_dump(mode="json")))
    assert text.endswith(
        ": cnnperf.cases.2.id: 'modified_vgg-mnist-28-eager' is the id of cnnperf.cases.0 too, "
        "expected every case once"
    )


def test_quick_reading_gives_the_same_record_without_some_parts(tmp_path: Path) -> None:
    """Also in an encoding that only the careful reader knows; parts left out are not checked."""
    trained = [example_repeat(seed) for seed in range(3)]
    file = write_record(
        tmp_path / "run.json",
        json.loads(example_record(example_case_record(repeats=trained)).model_dump_json()),
    )
    whole = load_record(file)
    assert load_quickly(file, ()) == whole
    for repeat in (repeat for case in whole.cases for repeat in case.repeats):
        repeat.epochs, repeat.confusion = [], None
    assert load_quickly(file, ("epochs", "confusion")) == whole
    text = file.read_text().replace('"train_loss": 0.4', '"train_loss": "low"')
    file.write_text(text)
    assert load_quickly(file, ("epochs", "confusion")) == whole
    file.write_bytes(text.replace('"low"', "0.4").encode("utf-16"))
    assert load_quickly(file, ()) == load_record(file)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b'{"cnnperf": [1]}',
        b'{"cnnperf": {"cases": [{"repeats": 3}]}}',
        b'{"cnnperf": {"schema_version": 99, "cases": []}}',
        b'{"cnnperf": {"cases": ' + b"[" * 5000 + b"]" * 5000 + b"}}",
        b'{"cnnperf": {"schema_version": 2, "tier": "\\ud800", "cases": []}}',
    ],
)
def test_quick_reading_refuses_with_the_same_sentence(tmp_path: Path, content: bytes) -> None:
    """Whatever is unusual is left to the careful reader."""
    file = tmp_path / "run.json"
    file.write_bytes(content)
    with pytest.raises(UsageError) as refused:
        load_quickly(file, ("epochs",))
    assert str(refused.value) == refusal_of(file)
