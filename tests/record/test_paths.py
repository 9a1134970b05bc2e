"""The files of a run: record, journal, and the journals that stopped runs left."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cnnperf.errors import UsageError
from cnnperf.record.journal import best_journal, check_record_path, choose_paths
from tests.examples import example_entries, example_header, write_journal

STAMPED = r"-\d{8}-\d{6}"


def test_the_record_is_where_benchmark_json_names_it(tmp_path: Path) -> None:
    """The journal lies beside it, with the time in its name."""
    paths = choose_paths(tmp_path / "reports" / "run.json", tmp_path / "root")
    assert paths.record == tmp_path / "reports" / "run.json"
    assert paths.journal.parent == tmp_path / "reports"
    assert re.fullmatch(f"run{STAMPED}.journal.jsonl", paths.journal.name)


def test_without_benchmark_json_each_run_has_a_record_of_its_own(tmp_path: Path) -> None:
    """In .cnnperf, named like its journal."""
    paths = choose_paths(None, tmp_path)
    assert paths.record.parent == paths.journal.parent == tmp_path / ".cnnperf"
    assert re.fullmatch(f"run{STAMPED}.json", paths.record.name)
    assert paths.journal.name == f"{paths.record.stem}.journal.jsonl"


def test_two_runs_at_the_same_time_have_different_journals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second and third get a number."""
    monkeypatch.setattr("cnnperf.record.journal.STAMP", "20260101-120000")
    names = []
    for _ in range(3):
        journal = choose_paths(tmp_path / "run.json", tmp_path).journal
        journal.write_text("x")
        names.append(journal.name)
    stem = "run-20260101-120000"
    expected = [f"{stem}.journal.jsonl", f"{stem}-2.journal.jsonl", f"{stem}-3.journal.jsonl"]
    assert names == expected


def test_older_journals_of_the_same_record_are_listed_latest_first(tmp_path: Path) -> None:
    """Without empty ones, and without those of other records."""
    for name in ("run-20260101-120000", "run-20260102-120000", "other-20260103-120000", "run-x"):
        (tmp_path / f"{name}.journal.jsonl").write_text("x")
    (tmp_path / "run-20260104-120000.journal.jsonl").touch()
    found = choose_paths(tmp_path / "run.json", tmp_path).older_journals
    assert [path.name for path in found] == [
        "run-20260102-120000.journal.jsonl",
        "run-20260101-120000.journal.jsonl",
    ]


def test_the_best_journal_has_the_most_trainings(tmp_path: Path) -> None:
    """Not the latest one; without journals there is none."""
    journals = [
        write_journal(tmp_path / f"{count}.jsonl", example_header(), example_entries(count))
        for count in (1, 3, 2)
    ]
    assert best_journal(journals) == journals[1]
    assert best_journal([]) is None


def test_checking_a_record_path_leaves_the_disk_unchanged(tmp_path: Path) -> None:
    """A new file is removed again, an existing one keeps its content."""
    new, existing = tmp_path / "deep" / "run.json", tmp_path / "run.json"
    existing.write_text("content")
    check_record_path(new)
    check_record_path(existing)
    assert not new.exists()
    assert existing.read_text() == "content"


def test_a_record_path_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """The message names the path and the option."""
    with pytest.raises(UsageError, match=r"cannot be written: .*--benchmark-json"):
        check_record_path(tmp_path)
