"""Read a record from a file that may be anything: cut off, foreign, hostile, or no file at all.

    record = load_record("reports/run.json")

Every problem ends in a `UsageError` of one line: the file, the field, what was expected and, where
that is known, how to fix it.
"""

from __future__ import annotations

import gc
import json
import reprlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_core import from_json

from cnnperf.errors import UsageError, describe_validation_error, printable
from cnnperf.record.files import name_of, naming_what_is_too_much, read_file
from cnnperf.record.schema import SCHEMA_VERSION, Record, Repeat, StateRecord, Version

MAX_DIGITS = 300
"""Digits of a whole number. A longer one is read as a float, since it may exceed every float."""

EXPECTED = "a file written by --benchmark-json"

REMEDY = (
    "copy it again or, if its run was stopped, make a record of the journal beside it with "
    "`cnnperf recover JOURNAL -o FILE`"
)

Hook = Callable[[dict[str, Any]], Any]


@naming_what_is_too_much
def load_json(
    path: Path, expected: str = EXPECTED, remedy: str = REMEDY, hook: Hook | None = None
) -> Any:
    """Read a JSON file in UTF-8, UTF-16 or UTF-32, with or without a byte order mark.

    Args:
        path: the file.
        expected: what the file should be, for error messages.
        remedy: what to do where it is empty or cut off.
        hook: may turn each object into something smaller, as in `json.loads`.

    Raises:
        UsageError: path, line and what is wrong.
    """
    raw = read_file(path)
    if not raw or raw.isspace():
        raise UsageError(f"{name_of(path)} is empty, expected {expected}: {remedy}")
    try:
        content = raw.decode(json.detect_encoding(raw), "surrogatepass")
        del raw  # half of what a large file takes until it is parsed
        found = json.loads(
            content,
            parse_int=lambda text: (int if len(text) <= MAX_DIGITS else float)(text),
            object_hook=hook,
        )
        if not content.isascii() or "\\u" in content:
            ours = found.get("cnnperf", found) if isinstance(found, dict) else found
            # Half of a surrogate pair raises here.
            json.dumps(ours, ensure_ascii=False, default=vars).encode()
    except json.JSONDecodeError as error:
        if _is_journal(content):
            raise _journal_instead(path, expected) from error
        advice = f"it seems cut off: {remedy}" if _is_cut_off(error) else f"expected {expected}"
        raise UsageError(
            f"{name_of(path)} is not valid JSON (line {error.lineno}, column {error.colno}: "
            f"{error.msg}); {advice}"
        ) from error
    except ValueError as error:
        raise UsageError(f"{name_of(path)} is not a JSON text file: {error}") from error
    return found


@naming_what_is_too_much
def load_record(path: Path | str, *, lean: bool = False) -> Record:
    """Read and check the record inside a pytest-benchmark file.

    Args:
        path: the file.
        lean: leave out of each repeat what no verdict needs, which is two thirds of a record.

    Raises:
        UsageError: there is no record, it has another schema version, a field does not fit, or a
            case is there twice.
    """
    path = Path(path)
    with no_search_for_cycles():
        return _load_record(path, lean)


def _load_record(path: Path, lean: bool) -> Record:
    content = load_json(path, hook=_repeats_as_models(lean))
    if not isinstance(content, dict) or "cnnperf" not in content:
        raise _no_record(content, path)
    body = content["cnnperf"]
    if isinstance(body, dict):
        _check_version(body.get("schema_version"), path)
    try:
        record = Record.model_validate(body)
    except ValidationError as error:
        problem = describe_validation_error(error, "cnnperf")
        raise UsageError(f"{name_of(path)}: {problem}") from error
    _check_ids(record, path)
    return record


@naming_what_is_too_much
def load_quickly(path: Path, without: Collection[str]) -> Record:
    """Read a record without some parts of its repeats, which are not looked at.

    It takes a third of the time of `load_record`, which reads whatever is unusual, and says what
    is wrong.

    Raises:
        UsageError: as in `load_record`.
    """
    try:
        body = from_json(read_file(path))["cnnperf"]
        for repeat in (repeat for case in body["cases"] for repeat in case["repeats"]):
            for part in without:
                repeat.pop(part, None)
        record = Record.model_validate(body)
        _share_settings(record)
    except (ValueError, LookupError, TypeError, AttributeError):
        return load_record(path)
    _check_ids(record, path)
    return record


def _share_settings(record: Record) -> None:
    """Keep one object for all repeats in a row with equal settings, of which it has many."""
    last = None
    for repeat in (repeat for case in record.cases for repeat in case.repeats):
        if last is not None and repeat.settings == last:
            repeat.settings = last
        last = repeat.settings


def _check_ids(record: Record, path: Path) -> None:
    places: dict[str, int] = {}
    for number, case in enumerate(record.cases):
        if (first := places.setdefault(case.id, number)) != number:
            raise UsageError(
                f"{name_of(path)}: cnnperf.cases.{number}.id: {printable(case.id)[:100]!r} is the "
                f"id of cnnperf.cases.{first} too, expected every case once"
            )


@contextmanager
def no_search_for_cycles() -> Iterator[None]:
    """Pause Python's search for cycles: reading makes millions of objects, and none of them.

    The search would take two thirds of the time.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _repeats_as_models(lean: bool) -> Hook:
    """Return a hook that makes each repeat a model at once, so that no file is in memory twice.

    From the first repeat on that does not fit, all stay as they are: the record's own check then
    names the place.
    """
    fits, last = True, None

    def hook(found: dict[str, Any]) -> Any:
        nonlocal fits, last
        if not fits or "seed" not in found or "metrics" not in found:
            return found
        try:
            repeat = Repeat.model_validate(found)
        except ValidationError:
            fits = False
            return found
        if last is not None and repeat.settings == last.settings:
            repeat.settings = last.settings  # one object for all repeats of a run
        last = repeat
        return _lean(repeat) if lean else repeat

    return hook


def _lean(repeat: Repeat) -> Repeat:
    """Keep what verdicts read; of the confusion, the number of images."""
    repeat.epochs, repeat.per_class, repeat.state = [], None, StateRecord()
    repeat.harness = repeat.inference = None
    if repeat.confusion is not None:
        repeat.confusion = [[sum(map(sum, repeat.confusion))]]
    return repeat


def _is_cut_off(error: json.JSONDecodeError) -> bool:
    """Return whether a syntax error is at the very end of an object that is not closed."""
    rest = error.doc[error.pos :].rstrip()
    is_last = len(rest) <= len(r"\u0000") and not rest.endswith(("}", "]"))
    return error.doc.lstrip().startswith("{") and (is_last or error.msg.startswith("Unterminated"))


def _is_journal(content: str) -> bool:
    """Return whether the first line is a journal's header; a journal has one object a line."""
    try:
        first = json.loads(content.partition("\n")[0])
    except (ValueError, RecursionError):
        return False
    return isinstance(first, dict) and first.get("kind") == "run"


def _journal_instead(path: Path, expected: str = EXPECTED) -> UsageError:
    return UsageError(
        f"{name_of(path)} is a run's journal, expected {expected}: "
        f"`cnnperf recover {name_of(path)} -o FILE` makes a record of it"
    )


def _no_record(content: Any, path: Path) -> UsageError:
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


def _check_version(version: Any, path: Path) -> None:
    """Refuse other schema versions before their fields are read: those may mean something else."""
    if version is None:
        raise UsageError(
            f"{name_of(path)}: cnnperf.schema_version is missing, expected {SCHEMA_VERSION}: "
            "the file is damaged, so make the record again"
        )
    oldest = min(get_args(Version))
    if not isinstance(version, int) or oldest <= version <= SCHEMA_VERSION:
        return  # the model refuses what is no number
    advice = (
        f"up to {SCHEMA_VERSION}: update cnnperf"
        if version > SCHEMA_VERSION
        else f"from {oldest} on: make the record again, or use the cnnperf that wrote it"
    )
    raise UsageError(
        f"{name_of(path)} has schema version {reprlib.repr(version)}, this cnnperf reads {advice}"
    )
