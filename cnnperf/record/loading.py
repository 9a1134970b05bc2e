"""Reading a record from a file that may be anything: cut off, foreign, hostile, or no file at all.

    record = load_record("reports/run.json")

Torch-free. Whatever is wrong ends in a `UsageError` of one line: the file, the field, what was
expected and, where that is known, what to do.
"""

from __future__ import annotations

import difflib
import json
import re
import reprlib
import stat
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cnnperf.errors import UsageError, printable
from cnnperf.record.metrics import format_bytes
from cnnperf.record.schema import SCHEMA_VERSION, Record, describe_validation_error

MAX_FILE_BYTES = 512 * 2**20
"""A record of 10,000 trainings takes some 20 MB. As Python's objects, JSON takes several times its
size: a much larger file would be ended by the kernel instead of by a sentence."""

MAX_DIGITS = 300
"""Of a whole number. One with more fits no float, and every figure becomes one sooner or later."""

HALF_A_CHARACTER = re.compile(r"[\ud800-\udfff]")
HALF_A_CHARACTER_IN_JSON = re.compile(rb"\\u[dD][89a-fA-F]")
"""Of one beyond U+FFFF, which JSON escapes in two halves. Alone it is no text: no file and no
terminal takes it."""

EXPECTED = "a file written by --benchmark-json"

REMEDY = (
    "copy it anew or, if its run was stopped, make a record of the journal beside it with `cnnperf "
    "recover JOURNAL -o FILE`"
)


def load_record(path: Path | str) -> Record:
    """Read and check a record; `UsageError` says what is wrong with the file."""
    path = Path(path)
    return parse_record(load_json(path), path)


def load_json(path: Path, expected: str = EXPECTED, remedy: str = REMEDY) -> Any:
    """A JSON file's content, in any of UTF-8, UTF-16 and UTF-32, with or without a mark in front.

    Args:
        path: the file.
        expected: what it should have been, for the sentences.
        remedy: what to do where it is empty or was cut off.

    Raises:
        UsageError: path, line and what is wrong.
    """
    content = read_file(path)
    if not content.strip():
        raise UsageError(f"{name_of(path)} is empty, expected {expected}: {remedy}")
    try:
        found = json.loads(content, parse_int=_whole_number)
    except (UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{name_of(path)} is not a JSON text file: {error}") from error
    except json.JSONDecodeError as error:
        if _is_journal(content):
            raise _journal_instead(path, expected) from error
        advice = f"it seems cut off: {remedy}" if _is_cut_off(error) else f"expected {expected}"
        raise UsageError(
            f"{name_of(path)} is not valid JSON (line {error.lineno}, column {error.colno}: "
            f"{error.msg}); {advice}"
        ) from error
    except ValueError as error:  # of `_whole_number`
        raise UsageError(f"{name_of(path)} cannot be read: {error}") from error
    if not content.isascii() or HALF_A_CHARACTER_IN_JSON.search(content):
        _check_text(found, path)
    return found


def parse_record(content: Any, path: Path) -> Record:
    """The record inside a pytest-benchmark file's content.

    Raises:
        UsageError: no record in it, another schema version, a field that does not fit, or a case
            that stands there twice.
    """
    if not isinstance(content, dict) or "cnnperf" not in content:
        raise _no_record(content, path)
    body = content["cnnperf"]
    if isinstance(body, dict):
        _check_version(body, path)
    try:
        record = Record.model_validate(body)
    except ValidationError as error:
        problem = describe_validation_error(error, "cnnperf")
        raise UsageError(f"{name_of(path)}: {problem}") from error
    _check_ids(record, path)
    return record


def read_file(path: Path) -> bytes:
    """A file's content.

    Raises:
        UsageError: it cannot be read, is no file (a pipe would be waited for, and some devices
            never end), or is larger than anything that cnnperf writes.
    """
    try:
        found = path.stat()
        if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
            raise UsageError(
                f"{name_of(path)} is a pipe or a device, expected a file: save what comes from it "
                "to one, and name that"
            )
        if found.st_size > MAX_FILE_BYTES:
            raise UsageError(
                f"{name_of(path)} has {format_bytes(found.st_size)}, expected at most "
                f"{format_bytes(MAX_FILE_BYTES)}: if it is a record, keep fewer trainings in a "
                "file, several can be compared together"
            )
        return path.read_bytes()
    except FileNotFoundError as error:
        raise UsageError(
            f"{name_of(path)} cannot be read: {error.strerror}{_nearest(path)}"
        ) from error
    except OSError as error:
        raise UsageError(f"{name_of(path)} cannot be read: {error.strerror or error}") from error


def _nearest(path: Path) -> str:
    """The file beside it whose name is most like this one's, as a question."""
    try:
        names = [each.name for each in path.absolute().parent.iterdir() if each.is_file()]
    except OSError:
        return ""
    near = difflib.get_close_matches(path.name, names, n=1)
    return f" (did you mean {name_of(path.with_name(near[0]))}?)" if near else ""


def name_of(path: Path) -> str:
    """A path as a sentence names it: its text, too, may come from elsewhere."""
    return printable(str(path))


def _check_text(content: Any, path: Path) -> None:
    """Refuse half a character anywhere in a record; what pytest-benchmark wrote beside is not ours.

    Raises:
        UsageError: there is one; names its place.
    """
    waiting = [("the top level", content)]
    if isinstance(content, dict) and "cnnperf" in content:
        waiting = [("cnnperf", content["cnnperf"])]
    while waiting:
        place, value = waiting.pop()
        texts = [value] if isinstance(value, str) else value if isinstance(value, dict) else ()
        if any(map(HALF_A_CHARACTER.search, texts)):
            raise UsageError(
                f"{name_of(path)}: {printable(place)} holds half a character, as \\ud800 is, which "
                "is no text: expected it as it was written, so make the record anew"
            )
        if isinstance(value, dict):
            waiting += [(f"{place}.{str(key)[:60]}", each) for key, each in value.items()]
        elif isinstance(value, list):
            waiting += [(f"{place}.{number}", each) for number, each in enumerate(value)]


def _whole_number(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"it holds a number of {len(text)} digits, expected {MAX_DIGITS} at most")
    return int(text)


def _is_cut_off(error: json.JSONDecodeError) -> bool:
    """Whether a syntax error is at the very end of an object, which was then not written on."""
    rest = error.doc[error.pos :].rstrip()
    is_last = len(rest) <= len(r"\u0000") and not rest.endswith(("}", "]"))
    return error.doc.lstrip().startswith("{") and (is_last or error.msg.startswith("Unterminated"))


def _is_journal(content: bytes) -> bool:
    """Whether the first line is a journal's header; such a file is one JSON object a line."""
    try:
        first = json.loads(content.partition(b"\n")[0])
    except (ValueError, RecursionError):
        return False
    return isinstance(first, dict) and first.get("kind") == "run"


def _journal_instead(path: Path, expected: str = EXPECTED) -> UsageError:
    return UsageError(
        f"{name_of(path)} is a run's journal, expected {expected}: "
        f"`cnnperf recover {name_of(path)} -o FILE` makes a record of it"
    )


def _no_record(content: Any, path: Path) -> UsageError:
    """What is said of JSON that is something else."""
    if not isinstance(content, dict):
        found = f"holds no object, found {reprlib.repr(content)}"
    elif content.get("kind") == "run":
        return _journal_instead(path)
    elif "benchmarks" in content and "machine_info" in content:
        found = "is pytest-benchmark's alone and holds no key 'cnnperf'"
    else:
        found = "holds no key 'cnnperf'"
    return UsageError(
        f"{name_of(path)} {printable(found)}: expected a record that "
        "`pytest benchmarks --benchmark-json` wrote with cnnperf installed"
    )


def _check_version(body: dict[str, Any], path: Path) -> None:
    """Refuse other schemas before their fields are looked at: they may mean something else."""
    version = body.get("schema_version")
    if version is None:
        raise UsageError(
            f"{name_of(path)}: cnnperf.schema_version is missing, expected {SCHEMA_VERSION}: "
            "every cnnperf writes one, so make the record anew"
        )
    if not isinstance(version, int) or version == SCHEMA_VERSION:
        return  # what is no number the model refuses
    advice = (
        f"up to {SCHEMA_VERSION}: update cnnperf"
        if version > SCHEMA_VERSION
        else f"from {SCHEMA_VERSION} on: make the record anew, or use the cnnperf that wrote it"
    )
    raise UsageError(
        f"{name_of(path)} has schema version {reprlib.repr(version)}, this cnnperf reads {advice}"
    )


def _check_ids(record: Record, path: Path) -> None:
    """Refuse a case that stands there twice: nobody could say which of them is meant."""
    first: dict[str, int] = {}
    for number, case in enumerate(record.cases):
        if case.id in first:
            raise UsageError(
                f"{name_of(path)}: cnnperf.cases.{number}.id: {printable(case.id)[:100]!r} is the "
                f"id of cnnperf.cases.{first[case.id]} too, expected every case once"
            )
        first[case.id] = number
