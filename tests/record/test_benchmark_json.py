"""A record as pytest-benchmark's file: its own tools must read it as if it were theirs."""

from __future__ import annotations

import csv
import json
import math
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cnnperf.errors import UsageError
from cnnperf.pytest_plugin.timing import extra_info
from cnnperf.record.benchmark_json import to_benchmark_json, write_benchmark_json
from cnnperf.record.loading import load_record
from cnnperf.record.metrics import METRICS
from cnnperf.record.schema import CaseRecord, Record, StateRecord
from tests.examples import (
    example_case_record,
    example_flag,
    example_record,
    example_repeat,
    failed_case_record,
    skipped_case_record,
)

TIMES = [20.0, 23.0, 21.0]
CASE_ID = "modified_vgg-mnist-28-eager"


def _passed() -> CaseRecord:
    return example_case_record(
        repeats=[example_repeat(seed, value) for seed, value in enumerate(TIMES)]
    )


@pytest.fixture
def record() -> Record:
    """A case of each outcome."""
    return example_record(_passed(), failed_case_record(), skipped_case_record())


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What pytest-benchmark itself writes."""
    folder = tmp_path_factory.mktemp("real")
    (folder / "test_it.py").write_text(
        "def test_it(benchmark):\n    benchmark.pedantic(lambda: None, rounds=3)\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)]
    command += [f"--rootdir={folder}", "--benchmark-json=real.json", "--benchmark-save-data"]
    subprocess.run(command, check=True, capture_output=True, cwd=folder)
    content: dict[str, Any] = json.loads((folder / "real.json").read_text())
    return content


# --- the same keys ------------------------------------------------------------------------------


def test_the_file_has_every_key_that_a_real_one_has(real: dict[str, Any], record: Record) -> None:
    """And one more, the record."""
    ours = to_benchmark_json(record)
    assert set(ours) == {*real, "cnnperf"}
    assert set(ours["machine_info"]) == set(real["machine_info"])
    assert set(ours["commit_info"]) == set(real["commit_info"])


def test_a_benchmark_has_every_key_that_a_real_one_has(
    real: dict[str, Any], record: Record
) -> None:
    """Every statistic too; of the options, those that mean something here."""
    (ours,), (theirs,) = to_benchmark_json(record)["benchmarks"], real["benchmarks"]
    assert set(ours) == set(theirs)
    assert set(ours["stats"]) == set(theirs["stats"])
    assert set(ours["options"]) <= set(theirs["options"])


# --- the figures --------------------------------------------------------------------------------


def test_the_statistics_are_those_of_the_repeats(record: Record) -> None:
    """Computed by the standard library from the times that the pytest process measured."""
    (benchmark,) = to_benchmark_json(record)["benchmarks"]
    outside = [value + 0.01 for value in TIMES]
    stats = benchmark["stats"]
    assert stats["data"] == pytest.approx(outside)
    assert (stats["rounds"], stats["iterations"]) == (3, 1)
    assert stats["min"] == pytest.approx(min(outside))
    assert stats["max"] == pytest.approx(max(outside))
    assert stats["mean"] == pytest.approx(statistics.mean(outside))
    assert stats["median"] == pytest.approx(statistics.median(outside))
    assert stats["stddev"] == pytest.approx(statistics.stdev(outside))


def test_without_a_time_from_outside_the_workers_own_counts() -> None:
    """Such as a training by Python's `train`."""
    repeat = example_repeat(train_seconds=20.0, outside_train_seconds=None)
    content = to_benchmark_json(example_record(example_case_record(repeats=[repeat])))
    assert content["benchmarks"][0]["stats"]["data"] == [20.0]


def test_a_benchmark_carries_the_case_and_each_metrics_median(record: Record) -> None:
    """For tools that know only pytest-benchmark."""
    (benchmark,) = to_benchmark_json(record)["benchmarks"]
    assert benchmark["name"] == f"test_train[{CASE_ID}]"
    info = benchmark["extra_info"]
    assert info["id"] == benchmark["param"] == CASE_ID
    assert (info["model"], info["dataset"], info["resolution"]) == ("modified_vgg", "mnist", 28)
    assert (info["recipe"], info["engine"]) == ("report", "eager")
    assert info["train_seconds"] == 21.0
    assert info["energy_joules"] is None
    assert set(METRICS) < set(info)
    assert info == extra_info(record.cases[0])


def test_what_failed_or_was_skipped_is_in_the_record_only(record: Record) -> None:
    """pytest-benchmark leaves errors out; our own record lists them."""
    content = to_benchmark_json(record)
    assert [benchmark["param"] for benchmark in content["benchmarks"]] == [CASE_ID]
    outcomes = [case["outcome"] for case in content["cnnperf"]["cases"]]
    assert outcomes == ["passed", "failed", "skipped"]


def test_a_run_without_a_finished_case_has_no_benchmarks() -> None:
    """The record is there all the same."""
    content = to_benchmark_json(example_record(failed_case_record()))
    assert content["benchmarks"] == []
    assert len(content["cnnperf"]["cases"]) == 1


# --- the file -----------------------------------------------------------------------------------


def test_the_written_file_loads_as_the_record_it_was_made_of(
    tmp_path: Path, record: Record
) -> None:
    """In a folder that is made where it is missing."""
    path = tmp_path / "reports" / "run.json"
    write_benchmark_json(record, path)
    assert load_record(path) == record


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path, record: Record) -> None:
    """Below a file, or where a folder is."""
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "run.json", tmp_path):
        with pytest.raises(UsageError, match=f"{path} cannot be written: "):
            write_benchmark_json(record, path)


def test_nan_is_written_as_null(tmp_path: Path) -> None:
    """A NaN of a driver becomes null: other languages' parsers know no NaN."""
    flag = example_flag().model_copy(update={"value": math.nan})
    repeat = example_repeat().model_copy(update={"warnings": [flag], "state": StateRecord()})
    path = tmp_path / "run.json"
    write_benchmark_json(example_record(example_case_record(repeats=[repeat])), path)

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    json.loads(path.read_text(), parse_constant=refuse)
    assert load_record(path).cases[0].repeats[0].warnings[0].value is None


# --- pytest-benchmark's own command -------------------------------------------------------------


def test_pytest_benchmark_compares_two_of_our_files(tmp_path: Path, record: Record) -> None:
    """Its table has both runs of the case, and its CSV the times."""
    slower = example_case_record(repeats=[example_repeat(0, 40.0)])
    write_benchmark_json(record, tmp_path / "base.json")
    write_benchmark_json(example_record(slower), tmp_path / "new.json")
    command = [sys.executable, "-m", "pytest_benchmark", "compare", "base.json", "new.json"]
    command += ["--csv=out", "--columns=min,median,rounds"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for name in ("base", "new"):
        assert f"test_train[{CASE_ID}] ({name})" in done.stdout + done.stderr
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["min"]) for row in rows] == pytest.approx([20.01, 40.01])
    assert [row["rounds"] for row in rows] == ["3", "1"]
    assert rows[0]["param:cnnperf_case"] == CASE_ID
