"""The journal: nothing that was measured is lost, whatever happens to the process or the disk."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnperf.errors import UsageError
from cnnperf.record.journal import (
    RESERVE_BYTES,
    Entry,
    Journal,
    JournalHeader,
    OutcomeEntry,
    RepeatEntry,
    read_journal,
    record_from_journal,
)
from cnnperf.record.numerics import NumericsTraining
from cnnperf.record.schema import CaseError, Metrics, Repeat
from tests import strategies
from tests.examples import (
    CREATED,
    example_case,
    example_entries,
    example_environment,
    example_header,
    example_repeat,
    write_journal,
)

FAST_CASE = example_case()
SLOW_CASE = example_case("vgg16", resolution=224)

entries = st.lists(
    st.builds(
        RepeatEntry,
        case=st.just(FAST_CASE),
        shortened=st.booleans(),
        plan=st.text(max_size=16),
        repeat=strategies.repeats,
    )
    | st.builds(
        OutcomeEntry,
        case=st.just(SLOW_CASE),
        outcome=st.sampled_from(["passed", "failed"]),
        error=st.none() | st.builds(CaseError, kind=st.just("exception"), message=st.text()),
    ),
    max_size=4,
)


@given(written=entries)
@settings(max_examples=30)
def test_a_written_journal_is_read_back_unchanged(written: list[Entry], tmp_path: Path) -> None:
    """In the same order, whatever line ends and control characters are in its texts."""
    path = tmp_path / "run.journal.jsonl"
    path.unlink(missing_ok=True)
    write_journal(path, example_header(), written)
    assert read_journal(path) == (example_header(), written)
    assert len(path.read_bytes().split(b"\n")) == len(written) + 2


def test_check_of_numerics_is_recovered_with_its_case(tmp_path: Path) -> None:
    """It stands in the lines of the repeats after it."""
    check = NumericsTraining(seed=0, step_losses=[0.1, 1 / 3], weights_sha256="a" * 64)
    written: list[Entry] = [
        RepeatEntry(case=FAST_CASE, plan="p", repeat=example_repeat(seed), numerics=numerics)
        for seed, numerics in enumerate([(check, check), ()])
    ]
    path = write_journal(tmp_path / "run.journal.jsonl", example_header(), written)
    (case,) = record_from_journal(*read_journal(path)).cases
    assert case.numerics == [check, check]


# --- cut off ------------------------------------------------------------------------------------


def test_a_journal_cut_anywhere_loses_only_the_line_that_was_cut(tmp_path: Path) -> None:
    """Cut at any byte, it loads with all complete lines, or is refused as no journal."""
    small = Repeat(seed=0, metrics=Metrics(train_seconds=1.0))
    written: list[Entry] = [
        RepeatEntry(case=FAST_CASE, plan="p", repeat=small.model_copy(update={"seed": seed}))
        for seed in range(2)
    ]
    written.append(OutcomeEntry(case=FAST_CASE, outcome="passed"))
    whole = write_journal(tmp_path / "whole", JournalHeader.model_validate(_tiny()), written)
    content = whole.read_bytes()
    ends = [i for i, byte in enumerate(content) if byte == ord("\n")]  # a line is whole without it
    cut = tmp_path / "cut"
    for length in range(len(content) + 1):
        cut.write_bytes(content[:length])
        lines = sum(end <= length for end in ends)
        if lines == 0:
            with pytest.raises(UsageError, match=r"line 1|is no journal of cnnperf"):
                read_journal(cut)
        else:
            assert read_journal(cut)[1] == written[: lines - 1], length


def _tiny() -> dict[str, object]:
    return {"created": CREATED, "tier": "smoke", "environment": {}}


ENDLESS = """
import sys
from contextlib import closing
from pathlib import Path
from cnnperf.record.journal import Journal
from tests.examples import example_entries, example_header

with closing(Journal(Path(sys.argv[1]))) as journal:
    journal.append(example_header())
    while True:
        journal.append(example_entries(1)[0])
        sys.stdout.write("x")
        sys.stdout.flush()
"""


def test_a_killed_run_loses_at_most_the_entry_in_flight(tmp_path: Path) -> None:
    """`kill -9` of a process that appends without end: all that was acknowledged is there."""
    path = tmp_path / "run.journal.jsonl"
    with subprocess.Popen(
        [sys.executable, "-c", ENDLESS, str(path)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    ) as process:
        assert process.stdout is not None
        acknowledged = process.stdout.read(25)
        process.send_signal(signal.SIGKILL)
        acknowledged += process.stdout.read()
    assert process.returncode == -signal.SIGKILL
    _, found = read_journal(path)
    assert len(found) - len(acknowledged) in {0, 1}
    assert found[0] == example_entries(1)[0]


def test_an_entry_is_on_the_disk_before_append_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flushed and synchronised, so that a power cut takes nothing either."""
    synchronised: list[int] = []
    path = tmp_path / "run.journal.jsonl"
    with contextlib.closing(Journal(path)) as journal:
        monkeypatch.setattr(os, "fsync", lambda _: synchronised.append(path.stat().st_size))
        journal.append(example_header())
        journal.append(example_entries(1)[0])
    assert len(synchronised) == 2
    assert 0 < synchronised[0] < synchronised[1] == path.stat().st_size


# --- the disk -----------------------------------------------------------------------------------


@pytest.mark.parametrize("below", ["run.jsonl", "deep/er/run.jsonl"])
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, below: str) -> None:
    """Before anything is trained; a file where a folder should be stops even root."""
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / below
    with pytest.raises(UsageError, match=r"cannot be written: .*--benchmark-json") as caught:
        Journal(path)
    assert str(path.parent) in str(caught.value)


def test_missing_folders_are_made(tmp_path: Path) -> None:
    """--benchmark-json=reports/run.json needs that on its first run."""
    write_journal(tmp_path / "reports" / "today" / "run.jsonl", example_header(), [])
    assert read_journal(tmp_path / "reports" / "today" / "run.jsonl")[1] == []


def test_an_existing_journal_is_never_overwritten(tmp_path: Path) -> None:
    """It may hold the only copy of hours of training."""
    path = write_journal(tmp_path / "run.jsonl", example_header(), example_entries())
    before = path.read_bytes()
    with pytest.raises(UsageError, match=f"{path} exists: a journal is never overwritten"):
        Journal(path)
    assert path.read_bytes() == before


def test_a_new_journal_is_empty_and_can_be_discarded(tmp_path: Path) -> None:
    """The probe of the disk leaves nothing behind; a finished run leaves no journal."""
    path = tmp_path / "run.jsonl"
    journal = Journal(path)
    assert path.read_bytes() == b""
    journal.discard()
    assert not path.exists()
    journal.discard()


def test_a_disk_that_refuses_the_first_bytes_is_found_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some file systems report a quota only when the data reaches the disk."""

    def fail(*_: int) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(UsageError, match=r"is full \(Disk quota exceeded, a run needs 16 MiB\)"):
        Journal(tmp_path / "run.jsonl")
    assert not (tmp_path / "run.jsonl").exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a little more than a run needs."""
    folder = tmp_path / "disk"
    folder.mkdir()
    size = RESERVE_BYTES + 2**20
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no `mount` here")
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _fill(folder: Path, leave: int) -> Path:
    """Take all of a disk but this many bytes."""
    state = os.statvfs(folder)
    file = folder / "filler"
    file.write_bytes(b"x" * (state.f_bavail * state.f_frsize - leave))
    return file


@pytest.mark.parametrize("leave", [0, 4096, 65536 - 4096, 65536, 2**20])
def test_a_disk_that_is_nearly_full_is_found_at_the_start(small_disk: Path, leave: int) -> None:
    """With what is free and what is needed; no empty journal stays behind."""
    _fill(small_disk, leave)
    path = small_disk / "run.jsonl"
    with pytest.raises(UsageError, match=r"is full .*a run needs 16 MiB.*--benchmark-json"):
        Journal(path)
    assert not path.exists()


def test_a_disk_that_fills_up_stops_the_run_and_keeps_what_it_has(small_disk: Path) -> None:
    """The message says how to continue, closing does not fail, and all earlier entries load."""
    path = small_disk / "run.jsonl"
    journal = Journal(path)
    journal.append(example_header())
    filler = _fill(small_disk, 32 * 1024)
    finished = _append_until_refused(journal)
    journal.close()
    filler.unlink()
    _, found = read_journal(path)
    assert found[: len(finished)] == finished
    assert finished


def test_a_quota_stops_the_run_the_same_way(tmp_path: Path) -> None:
    """A limit on the size of files, which needs no rights to set; the rest follows as above."""
    path = tmp_path / "run.jsonl"
    journal = Journal(path)
    journal.append(example_header())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (32 * 1024, hard))
    try:
        finished = _append_until_refused(journal)
        journal.close()
        journal.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    _, found = read_journal(path)
    assert found[: len(finished)] == finished
    assert finished


def _append_until_refused(journal: Journal) -> list[Entry]:
    """Append entries until the disk is full; return the appended ones."""
    finished: list[Entry] = []
    refusal = ""
    while not refusal:
        entry = RepeatEntry(case=FAST_CASE, plan="p", repeat=example_repeat(len(finished)))
        try:
            journal.append(entry)
            finished.append(entry)
        except UsageError as error:
            refusal = str(error)
    assert refusal.startswith(f"{journal.path} cannot be written any more: ")
    assert refusal.endswith(f"continue with --cnnperf-resume={journal.path}")
    return finished


# --- files that are none ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"hello\n",
        b"{}\n",
        b"[]\n",
        b'{"kind": "something else"}\n',
        b'{"machine_info": {}, "cnnperf": {}}',
        b"\x89PNG\r\n\x1a\n",
        b"[" * 100_000,
        b'{"kind": "run", "seed": ' + b"1" * 5000 + b"}\n",
        OutcomeEntry(case=FAST_CASE, outcome="passed").model_dump_json().encode() + b"\n",
    ],
)
def test_a_foreign_file_is_no_journal(tmp_path: Path, content: bytes) -> None:
    """One sentence that starts with the path."""
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"is no journal|expected (a|the) journal") as caught:
        read_journal(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_missing_journal_is_named(tmp_path: Path) -> None:
    """With the system's reason."""
    with pytest.raises(UsageError, match="none cannot be read: No such file or directory"):
        read_journal(tmp_path / "none")


def test_a_damaged_line_in_the_middle_is_named(tmp_path: Path) -> None:
    """Only a last line can be one that was being written; others are not skipped in silence."""
    path = write_journal(tmp_path / "run.jsonl", example_header(), example_entries())
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], lines[1][:50] + b"\n", *lines[2:]]))
    with pytest.raises(UsageError, match=r"run.jsonl, line 2: .*expected a journal"):
        read_journal(path)


def test_hostile_text_in_a_journal_cannot_steer_the_terminal(tmp_path: Path) -> None:
    """An escape sequence is shown as text."""
    path = tmp_path / "run.jsonl"
    path.write_text(json.dumps({"kind": "\x1b[2Jrun"}) + "\n")
    with pytest.raises(UsageError) as caught:
        read_journal(path)
    assert str(caught.value).isprintable()


# --- a record of a journal ----------------------------------------------------------------------


def test_a_record_has_what_the_journal_has() -> None:
    """Run, cases in their order, repeats, outcomes, errors and fingerprints."""
    error = CaseError(kind="killed", message="killed by SIGKILL", seed=0)
    found = [*example_entries(2), OutcomeEntry(case=SLOW_CASE, outcome="failed", error=error)]
    record = record_from_journal(example_header(), found)
    assert (record.created, record.tier) == (CREATED, "standard")
    assert record.environment == example_environment()
    fast, slow = record.cases
    assert (fast.id, fast.outcome, len(fast.repeats)) == (FAST_CASE.id, "passed", 2)
    assert fast.fingerprint is not None
    assert fast.fingerprint.recipe.model_dump() == FAST_CASE.recipe.model_dump()
    assert (slow.id, slow.outcome, slow.error) == (SLOW_CASE.id, "failed", error)
    assert slow.fingerprint is None
    assert not record.interrupted


def test_a_shortened_case_stays_marked() -> None:
    """Its accuracy gates nothing in a recovered record either."""
    entry = RepeatEntry(case=FAST_CASE, shortened=True, plan="p", repeat=example_repeat())
    assert record_from_journal(example_header(), [entry]).cases[0].shortened


@pytest.mark.parametrize(
    ("planned", "ended", "interrupted"),
    [
        ((), 0, True),
        ((), 2, True),
        ((), 3, False),
        ((FAST_CASE.id,), 3, False),
        ((FAST_CASE.id, SLOW_CASE.id), 3, True),
    ],
)
def test_a_record_is_interrupted_while_a_planned_case_has_not_ended(
    planned: tuple[str, ...], ended: int, interrupted: bool
) -> None:
    """Also one that the run had not come to, which left no line of its own."""
    found = example_entries(2)[:ended]
    record = record_from_journal(example_header(planned=planned), found)
    assert record.interrupted is interrupted
