"""Loading folders of records: figures against plain Python, sentences on other files."""

from __future__ import annotations

import json
import os
import shutil
import statistics
from datetime import timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from cnnperf.compare.calibration import SUFFIX, Calibration
from cnnperf.compare.history.load import BATCH, MAX_NAMED, Loaded, load_folder
from cnnperf.errors import UsageError
from cnnperf.record.environment import Hardware, Settings
from cnnperf.record.loading import load_record
from cnnperf.record.schema import json_schema
from tests.compare.history.folders import case_with, commit_of, write, write_history
from tests.examples import (
    CREATED,
    example_flag,
    example_record,
    failed_case_record,
    skipped_case_record,
)

METRICS = ["train_seconds", "images_per_second", "test_accuracy", "energy_joules"]

REPORTS = Path(__file__).parents[3] / "reports"


def _medians(loaded: Loaded, metric: str = "train_seconds") -> list[float]:
    return [point.median for point in loaded.points if point.metric == metric]


def test_points_have_median_least_greatest_and_number_of_the_trainings(tmp_path: Path) -> None:
    """Points are in the order of time."""
    written = write_history(tmp_path, [20.0, 21.0, 22.0])
    points = [p for p in load_folder(tmp_path, METRICS).points if p.metric == "train_seconds"]
    assert [p.median for p in points] == [statistics.median(each) for each in written]
    assert [(p.low, p.high, p.n) for p in points] == [(min(e), max(e), 3) for e in written]
    assert [p.commit for p in points] == [commit_of(number) for number in range(3)]


def test_project_records_give_the_figures_that_load_record_gives() -> None:
    """All figures in reports/, against the pydantic models."""
    loaded = load_folder(REPORTS, METRICS)
    expected = {}
    for file in REPORTS.rglob("*.json"):
        if file.name.endswith(SUFFIX):
            continue
        for case in load_record(file).cases:
            for metric in METRICS:
                if case.outcome == "passed" and (values := case.values(metric)):
                    expected[str(file), case.id, metric] = (
                        len(values), statistics.median(values), min(values), max(values)
                    )  # fmt: skip
    found = {(p.file, p.case_id, p.metric): (p.n, p.median, p.low, p.high) for p in loaded.points}
    assert found == expected
    assert not loaded.warnings


def test_more_files_than_a_batch_are_all_read(tmp_path: Path) -> None:
    """No file is lost between two batches."""
    record = json.loads(example_record(case_with([20.0])).model_dump_json())
    for number in range(BATCH + 3):
        record["cases"][0]["repeats"][0]["metrics"]["train_seconds"] = 1.0 + number
        (tmp_path / f"{number}.json").write_text(json.dumps({"cnnperf": record}))
    assert sorted(_medians(load_folder(tmp_path, METRICS))) == [1.0 + n for n in range(BATCH + 3)]


def test_records_of_several_time_zones_are_sorted_by_utc(tmp_path: Path) -> None:
    """22:00 in New York is later than 01:00 of the next day in Berlin."""
    berlin, new_york = timezone(timedelta(hours=1)), timezone(timedelta(hours=-5))
    later = CREATED.replace(hour=22, tzinfo=new_york)
    earlier = CREATED.replace(day=CREATED.day + 1, hour=1, tzinfo=berlin)
    write(tmp_path / "a.json", example_record(case_with([2.0]), created=later))
    write(tmp_path / "b.json", example_record(case_with([1.0]), created=earlier))
    loaded = load_folder(tmp_path, METRICS)
    assert _medians(loaded) == [1.0, 2.0]
    assert [p.created for p in loaded.points if p.metric == "train_seconds"] == [earlier, later]


def test_copied_record_counts_once_and_has_a_note(tmp_path: Path) -> None:
    """A copy with other white space counts as a copy too."""
    write_history(tmp_path, [20.0, 21.0])
    (tmp_path / "more").mkdir()
    shutil.copy(tmp_path / "000.json", tmp_path / "more" / "copy.json")
    content = json.loads((tmp_path / "001.json").read_text())
    (tmp_path / "indented.json").write_text(json.dumps(content, indent=4))
    loaded = load_folder(tmp_path, METRICS)
    assert len(_medians(loaded)) == 2
    (note,) = loaded.notes
    assert note.startswith("counted once")
    assert "copy.json" in note
    assert "indented.json" in note


def test_trainings_of_a_resumed_run_count_only_in_the_newer_record(tmp_path: Path) -> None:
    """The newer record has all trainings of the case."""
    first, whole = case_with([20.0, 20.1]), case_with([20.0, 20.1, 20.2])
    write(tmp_path / "stopped.json", example_record(first, interrupted=True))
    write(tmp_path / "whole.json", example_record(whole, created=CREATED + timedelta(hours=1)))
    loaded = load_folder(tmp_path, METRICS)
    assert [(p.median, p.n) for p in loaded.points if p.metric == "train_seconds"] == [(20.1, 3)]
    assert "stopped.json" in loaded.notes[0]


def test_interrupted_run_with_a_disturbed_training_is_marked(tmp_path: Path) -> None:
    """Its trainings are complete, so they count."""
    case = case_with([20.0])
    case.repeats[0].warnings.append(example_flag())
    write(tmp_path / "a.json", example_record(case, interrupted=True))
    point = load_folder(tmp_path, METRICS).points[0]
    assert point.interrupted
    assert point.disturbed


def test_failed_and_skipped_cases_have_a_note_and_no_point(tmp_path: Path) -> None:
    """The note has the number of records."""
    cases = case_with([20.0]), failed_case_record(), skipped_case_record()
    write(tmp_path / "a.json", example_record(*cases))
    shutil.copy(tmp_path / "a.json", tmp_path / "copy.json")
    loaded = load_folder(tmp_path, METRICS)
    assert {point.case_id for point in loaded.points} == {cases[0].id}
    _, failed, skipped = loaded.notes
    assert f"{cases[1].id} failed in 1 record" in failed
    assert f"{cases[2].id} skipped in 1 record" in skipped


def test_note_on_a_failed_case_has_the_newest_file(tmp_path: Path) -> None:
    """Whatever the names of the files are."""
    for name, day in (("a", 1), ("c", 2), ("b", 3)):
        created = CREATED + timedelta(days=day)
        record = example_record(case_with([20.0 + day]), failed_case_record(), created=created)
        write(tmp_path / f"{name}.json", record)
    (note,) = load_folder(tmp_path, METRICS).notes
    assert note.endswith(f"failed in 3 records, last in {tmp_path / 'b.json'}")


def test_settings_of_a_training_override_those_of_the_record(tmp_path: Path) -> None:
    """The process that trained recorded them."""
    case = case_with([20.0])
    case.repeats[0] = case.repeats[0].model_copy(update={"settings": Settings(torch_threads=7)})
    write(tmp_path / "a.json", example_record(case))
    (environment,) = load_folder(tmp_path, METRICS).points[0].environments
    assert environment.settings.torch_threads == 7


# --- files that are not records -------------------------------------------------------------------


def _body(**changes: Any) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(example_record(case_with([20.0])).model_dump_json())
    return body | changes


def _case(**changes: Any) -> dict[str, Any]:
    case: dict[str, Any] = _body()["cases"][0]
    return case | changes


BROKEN: dict[str, bytes] = {
    "cut off": b'{"cnnperf": {"schema_version": 1, "cre',
    "empty": b"",
    "text": b"hello",
    "list": b"[1, 2]",
    "number": b"7",
    "not UTF-8": b'{"cnnperf": "\xff"}',
    "deep": b"[" * 100_000 + b"]" * 100_000,
    "pytest-benchmark's alone": b'{"benchmarks": [], "machine_info": {}}',
    "foreign": b'{"hello": 1}',
    "another version": json.dumps({"cnnperf": _body(schema_version=99)}).encode(),
    "no time": json.dumps({"cnnperf": _body(created="yesterday")}).encode(),
    "no time zone": json.dumps({"cnnperf": _body(created="2026-01-02T03:04:05")}).encode(),
    "no cases": json.dumps({"cnnperf": _body(cases=None)}).encode(),
    "a case twice": json.dumps({"cnnperf": _body(cases=[_case(), _case()])}).encode(),
    "a case without an outcome": json.dumps(
        {"cnnperf": _body(cases=[_case(outcome=None)])}
    ).encode(),
    "no training time": json.dumps(
        {"cnnperf": _body(cases=[_case(repeats=[{"seed": 0, "metrics": {}}])])}
    ).encode(),
    "a wrong fingerprint in one of two cases": json.dumps(
        {"cnnperf": _body(cases=[_case(), _case(id="other", fingerprint={"precision": 7})])}
    ).encode(),
    "a wrong environment": json.dumps(
        {"cnnperf": _body(environment={"hardware": {"cpu_model": [1]}})}
    ).encode(),
}


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (_body(created="0001-01-01T00:00:00Z"), "cnnperf.created: Input should be greater than"),
        (_body(created=1_700_000_000), "cnnperf.created: Input should be a valid datetime, such"),
        (
            _body(cases=[_case(repeats=[{"seed": 0, "metrics": {"train_seconds": "3.5"}}])]),
            "metrics.train_seconds: Input should be a valid number, found '3.5'",
        ),
        (
            _body(
                cases=[_case(repeats=[{"seed": 0, "metrics": {"train_seconds": 1, "mfu": True}}])]
            ),
            "metrics.mfu: Input should be a valid number, found True",
        ),
        (_body(cases=[]) | {"cases": None}, "cnnperf.cases: Input should be a valid list"),
        ({name: value for name, value in _body().items() if name != "cases"}, " holds no case"),
    ],
)
def test_wrong_field_is_named(tmp_path: Path, body: dict[str, Any], problem: str) -> None:
    """The file is good JSON in UTF-8, so the sentence does not blame that."""
    write_history(tmp_path, [20.0])
    (tmp_path / "odd.json").write_text(json.dumps({"cnnperf": body}))
    loaded = load_folder(tmp_path, [*METRICS, "mfu"])
    (warning,) = loaded.warnings
    assert problem in warning
    assert loaded.records == 1


def test_case_without_a_list_of_repeats_has_none(tmp_path: Path) -> None:
    """As `load_record` reads it."""
    case = _case()
    del case["repeats"]
    (tmp_path / "a.json").write_text(json.dumps({"cnnperf": _body(cases=[case])}))
    loaded = load_folder(tmp_path, METRICS)
    assert (loaded.records, loaded.points, loaded.warnings) == (1, (), ())


@pytest.mark.parametrize("kind", BROKEN)
def test_file_that_is_not_a_record_is_skipped_with_one_sentence(tmp_path: Path, kind: str) -> None:
    """The other files are read."""
    write_history(tmp_path, [20.0, 21.0])
    (tmp_path / "odd.json").write_bytes(BROKEN[kind])
    loaded = load_folder(tmp_path, METRICS)
    assert (loaded.records, len(_medians(loaded))) == (2, 2)
    (warning,) = loaded.warnings
    assert warning.startswith("skipped: ")
    assert "odd.json" in warning
    assert "\n" not in warning
    assert len(warning) < 600


def test_broken_files_beyond_the_first_few_are_counted(tmp_path: Path) -> None:
    """Only `MAX_NAMED` files get a sentence."""
    write_history(tmp_path, [20.0])
    for number in range(MAX_NAMED + 3):
        (tmp_path / f"odd-{number}.json").write_bytes(b"{")
    warnings = load_folder(tmp_path, METRICS).warnings
    assert len(warnings) == MAX_NAMED + 1
    assert warnings[-1] == "skipped: 3 more files that are not records"


def test_other_files_of_cnnperf_are_skipped_silently(tmp_path: Path) -> None:
    """Calibrations, schemas, journals and histories lie beside records."""
    write_history(tmp_path, [20.0])
    calibration = Calibration(created=CREATED, hardware=Hardware(cpu_model="x"))
    (tmp_path / "a.calibration.json").write_text(calibration.model_dump_json())
    (tmp_path / "record.schema.json").write_text(json.dumps(json_schema()))
    (tmp_path / "run.journal.jsonl").write_text("no JSON of one piece")
    (tmp_path / "history.json").write_text('{"cnnperf_history": 1, "series": []}')
    loaded = load_folder(tmp_path, METRICS)
    assert (loaded.records, loaded.warnings) == (1, ())


def test_pipe_is_skipped_without_reading_it(tmp_path: Path) -> None:
    """Reading a pipe could block for ever."""
    write_history(tmp_path, [20.0])
    os.mkfifo(tmp_path / "pipe.json")
    (warning,) = load_folder(tmp_path, METRICS).warnings
    assert "is a pipe or a device" in warning


def test_file_and_folder_without_permission_are_skipped_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Permissions are simulated, because root has all of them."""
    write_history(tmp_path, [20.0, 21.0])
    (tmp_path / "closed").mkdir()
    access, scandir = os.access, os.scandir

    def scan(path: str) -> Any:
        if path.endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scan)
    monkeypatch.setattr(os, "access", lambda path, mode: "001" not in path and access(path, mode))
    loaded = load_folder(tmp_path, METRICS)
    assert loaded.records == 1
    folder, file = loaded.warnings
    assert folder == f"skipped: {tmp_path / 'closed'} cannot be opened: Permission denied"
    assert "001.json" in file


def test_byte_order_mark_and_glob_characters_in_names_are_accepted(tmp_path: Path) -> None:
    """A path is not a pattern; editors on Windows write the mark."""
    write_history(tmp_path / "a[1]*?", [20.0])
    write_history(tmp_path / "a1", [21.0], seed=1)
    file = tmp_path / "a1" / "000.json"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    loaded = load_folder(tmp_path, METRICS)
    assert len(_medians(loaded)) == 2
    assert not loaded.warnings
    assert {Path(point.file).parent.name for point in loaded.points} == {"a[1]*?", "a1"}


def test_folder_without_a_record_is_a_usage_error(tmp_path: Path) -> None:
    """The message has the first problem, if there is one."""
    with pytest.raises(UsageError, match="holds no record: put files there"):
        load_folder(tmp_path, METRICS)
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(UsageError, match=r"holds no record: skipped: .*is not valid JSON"):
        load_folder(tmp_path, METRICS)
    with pytest.raises(UsageError, match="is a file: name a folder"):
        load_folder(tmp_path / "a.json", METRICS)
    with pytest.raises(UsageError, match="does not exist"):
        load_folder(tmp_path / "b", METRICS)
