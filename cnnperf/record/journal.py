"""Write every finished repeat to disk at once, so that a killed run loses at most one training.

A journal has one JSON object a line: first the run, then each repeat or failed case as it ends.

The journal lies beside the record until that is complete.

    cnnperf recover JOURNAL -o run.json                 # make a record of it
    pytest benchmarks --cnnperf-resume=JOURNAL          # continue the run
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BufferedWriter
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from cnnperf.catalog.loops import AnyCase, LoopCase
from cnnperf.catalog.specs import Tier
from cnnperf.errors import UsageError, describe_validation_error
from cnnperf.record.efficiency import add_efficiency
from cnnperf.record.environment import Environment, Moment, Texts
from cnnperf.record.files import naming_what_is_too_much, read_file
from cnnperf.record.fingerprint import RecordedQuality
from cnnperf.record.numerics import NumericsTraining
from cnnperf.record.schema import (
    SCHEMA_VERSION,
    CaseError,
    CaseRecord,
    Outcome,
    Record,
    RecordModel,
    Repeat,
    Version,
    fingerprint_of,
    now,
)

SUFFIX = ".journal.jsonl"

STAMP = "%Y%m%d-%H%M%S"

RESERVE_BYTES = 16 * 2**20
"""Free disk space that a run needs for its journal and record."""


class JournalHeader(RecordModel):
    """The first line: the run."""

    kind: Literal["run"] = "run"
    schema_version: Version = SCHEMA_VERSION
    created: Moment
    tier: Tier
    command: str | None = None
    environment: Environment
    planned: Texts = ()
    """Ids of the cases to train. A case without an outcome line was cut off."""


class RepeatEntry(RecordModel):
    """A finished repeat."""

    kind: Literal["repeat"] = "repeat"
    case: AnyCase
    shortened: bool = False
    plan: str
    """Hash of everything known before training that affects the result."""
    repeat: Repeat
    numerics: Annotated[tuple[NumericsTraining, ...], Field(strict=False)] = ()


class OutcomeEntry(RecordModel):
    """A case that ended."""

    kind: Literal["outcome"] = "outcome"
    case: AnyCase
    shortened: bool = False
    outcome: Outcome
    error: CaseError | None = None


Entry = RepeatEntry | OutcomeEntry
_LINE: TypeAdapter[JournalHeader | Entry] = TypeAdapter(
    Annotated[JournalHeader | Entry, Field(discriminator="kind")]
)


class Journal:
    """An open journal. `append` returns once the entry is on the disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = _open_checked(path)
        lock(self._file.fileno())  # until this process ends, however it ends

    def append(self, entry: JournalHeader | Entry) -> None:
        """Write one entry and flush it to the disk.

        Raises:
            UsageError: the disk is full or fails.
        """
        try:
            self._file.write(entry.model_dump_json().encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise UsageError(
                f"{self.path} cannot be written any more: {error.strerror}; free some space and "
                f"continue with --cnnperf-resume={self.path}"
            ) from error

    def close(self) -> None:
        """Close the file and keep it."""
        with contextlib.suppress(OSError):  # `append` has reported a full disk
            self._file.close()

    def discard(self) -> None:
        """Close and remove the file, once the record holds everything."""
        self.close()
        self.path.unlink(missing_ok=True)


def lock(descriptor: int) -> bool:
    """Lock an open journal for this process; return False if another one holds it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the journal of a stopped run, so that no other run takes it over too.

    Raises:
        UsageError: a run is still writing it, or another one is taking it over.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:  # `read_journal` says what is wrong with the file
        yield
        return
    try:
        if not lock(descriptor):
            raise UsageError(
                f"{path} is in use by {holder(descriptor)}; wait until that run has ended"
            )
        yield
    finally:
        os.close(descriptor)


def holder(descriptor: int) -> str:
    """Name the process that holds a lock, as far as the kernel tells."""
    found = os.fstat(descriptor)
    inode = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    with contextlib.suppress(OSError):
        for line in Path("/proc/locks").read_text().splitlines():
            words = line.split()
            if words[1] == "FLOCK" and inode in words and int(words[4]) > 0:
                return f"process {words[4]}"
    return "another process"


def _open_checked(path: Path) -> BufferedWriter:
    """Open a new journal and check that the disk has room for a run."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            raise UsageError(f"{path} exists: a journal is never overwritten; move it or delete it")
        file = path.open("xb")
    except OSError as error:
        raise UsageError(
            f"{path.parent} cannot be written: {error.strerror}; choose another place for the "
            "results with --benchmark-json"
        ) from error
    try:
        free = shutil.disk_usage(path.parent).free
        file.write(b" " * 65536)  # a quota shows only on writing
        file.flush()
        os.fsync(file.fileno())
        file.truncate(0)
        file.seek(0)
        shortage = f"{free / 2**20:.1f} MiB free" if free < RESERVE_BYTES else None
    except OSError as error:
        shortage = error.strerror or str(error)
    if shortage is None:
        return file
    with contextlib.suppress(OSError):
        file.close()
    path.unlink(missing_ok=True)
    raise UsageError(
        f"{path.parent} is full ({shortage}, a run needs {RESERVE_BYTES // 2**20} MiB): free some "
        "space or choose another place with --benchmark-json"
    )


@naming_what_is_too_much
def read_journal(path: Path | str) -> tuple[JournalHeader, list[Entry]]:
    """Return the header and all entries of a journal, without a last line that a crash cut off.

    Raises:
        UsageError: the file cannot be read or is no journal.
    """
    path = Path(path)
    content = read_file(path)
    _refuse_a_record(content, path)
    lines = content.splitlines()
    found: list[JournalHeader | Entry] = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(_LINE.validate_json(line))
        except ValidationError as error:
            if number < len(lines):  # the last one is cut off when the run is killed
                raise UsageError(
                    f"{path}, line {number}: {describe_validation_error(error)}; expected a "
                    "journal that cnnperf wrote"
                ) from error
    header = next((each for each in reversed(found) if isinstance(each, JournalHeader)), None)
    if header is None:
        raise UsageError(
            f"{path} is no journal of cnnperf: its first line does not name a run; expected a file "
            f"that a stopped run left, such as run-20260101-120000{SUFFIX}"
        )
    return header, [each for each in found if not isinstance(each, JournalHeader)]


def _refuse_a_record(content: bytes, path: Path) -> None:
    """Refuse a record: it lies beside its journal and has nearly the same name."""
    try:
        whole = json.loads(content)  # fails in line 2 of a journal
    except (ValueError, RecursionError):
        return
    if isinstance(whole, dict) and "cnnperf" in whole:
        raise UsageError(
            f"{path} is a record already, expected the journal that a stopped run left beside "
            f"it, such as run-20260101-120000{SUFFIX}"
        )


def record_from_journal(header: JournalHeader, entries: list[Entry]) -> Record:
    """Return the record of a journal; a planned case without an outcome makes it `interrupted`."""
    cases: dict[str, CaseRecord] = {}
    ended: set[str] = set()
    for entry in entries:
        case = cases.setdefault(entry.case.id, new_case_record(entry.case, entry.shortened))
        if isinstance(entry, RepeatEntry):
            add_repeat(case, entry.case, entry.repeat)
            case.numerics = list(entry.numerics) or case.numerics
        else:
            case.outcome, case.error = entry.outcome, entry.error
            ended.add(case.id)
    add_efficiency(list(cases.values()))
    return Record(
        created=header.created,
        tier=header.tier,
        command=header.command,
        environment=header.environment,
        interrupted=not cases or ended != {*cases, *header.planned},
        cases=list(cases.values()),
    )


def new_case_record(case: AnyCase, shortened: bool) -> CaseRecord:
    """Return a case's record before its first repeat."""
    if isinstance(case, LoopCase):
        quality = [RecordedQuality.model_validate(each) for each in case.quality]
        fields: dict[str, Any] = {"model": case.name, "quality": quality}
    else:
        fields = {
            "model": case.model,
            "dataset": case.dataset,
            "resolution": case.resolution,
            "recipe": case.recipe.name,
            "devices": case.devices,
            "scaling": case.scaling,
        }
    return CaseRecord(
        id=case.id,
        engine=case.engine,
        suite=case.suite,
        shortened=shortened,
        outcome="passed",
        **fields,
    )


def add_repeat(record: CaseRecord, case: AnyCase, repeat: Repeat) -> None:
    """Add a finished repeat; the first one sets the fingerprint of the case."""
    record.repeats.append(repeat)
    if record.fingerprint is None:
        record.fingerprint = fingerprint_of(repeat, case)


@dataclass(frozen=True, kw_only=True)
class ResultPaths:
    """The files of one run."""

    record: Path
    journal: Path
    older_journals: tuple[Path, ...]
    """Journals of stopped runs with the same record, the latest first."""


def choose_paths(benchmark_json: Path | None, root: Path, node: int = 0) -> ResultPaths:
    """Return the files of a run that starts now.

    Args:
        benchmark_json: the path of --benchmark-json; without it, each run gets a file in
            `root`/.cnnperf, named after the time.
        root: pytest's root folder.
        node: number of this node among those that train together; all but the first add it to the
            names, since they may share the folder.

    Raises:
        UsageError: a run that is not over will write the same record.
    """
    base = benchmark_json.absolute() if benchmark_json else root / ".cnnperf" / "run.json"
    if node:
        base = base.with_stem(f"{base.stem}-node{node}")
    stem = f"{base.stem}-{now().strftime(STAMP)}"
    names = itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))
    paths = (base.with_name(name + SUFFIX) for name in names)
    journal = next(path for path in paths if not path.exists())  # another run's stays as it is
    pattern = re.compile(re.escape(base.stem) + r"-\d{8}-\d{6}(-\d+)?" + re.escape(SUFFIX))
    beside = base.parent.iterdir() if base.parent.is_dir() else ()
    others = [path for path in beside if pattern.fullmatch(path.name) and path.is_file()]
    if benchmark_json is not None:
        _check_no_run_writes(base, others)
    older = [path for path in others if path.stat().st_size]
    return ResultPaths(
        record=base if benchmark_json else Path(str(journal).removesuffix(SUFFIX) + ".json"),
        journal=journal,
        older_journals=tuple(sorted(older, reverse=True)),
    )


def _check_no_run_writes(record: Path, journals: Iterable[Path]) -> None:
    for journal in journals:
        try:
            with locked(journal):
                pass
        except UsageError as error:
            raise UsageError(
                f"another run will write {record}: {error}, or choose another --benchmark-json"
            ) from None


def best_journal(journals: Iterable[Path]) -> Path | None:
    """Return the journal with the most trainings.

    The newest may have fewer: a resumed run that is killed early has not copied all of them.
    """
    return max(journals, key=lambda path: path.read_bytes().count(b'"kind":"repeat"'), default=None)


def check_record_path(path: Path) -> None:
    """Check that the record can be written, without changing an existing one.

    Raises:
        UsageError: it cannot be written.
    """
    existed = path.exists()
    if existed and not (path.is_file() or path.is_dir()):  # a pipe would wait for its reader
        raise UsageError(
            f"{path} is no regular file, so a record cannot be kept there; choose another "
            "--benchmark-json"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab"):
            pass
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror or error}; choose another place for the "
            "record with --benchmark-json"
        ) from error
    if not existed:
        path.unlink()
