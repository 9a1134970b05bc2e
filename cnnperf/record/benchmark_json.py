"""Write a record as a file that pytest-benchmark's tools read, without pytest.

`cnnperf recover` uses it, and runs in which pytest-benchmark itself has nothing to write.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pytest_benchmark.stats import Stats
from pytest_benchmark.utils import get_commit_info

from cnnperf.record.schema import CaseRecord, Record, extra_info, record_as_json
from cnnperf.record.writing import write_file

UNKNOWN_MACHINE_FIELDS = (
    "processor",
    "machine",
    "python_compiler",
    "python_implementation",
    "python_implementation_version",
    "python_build",
)
"""Fields of pytest-benchmark's machine_info that a record lacks and that tools may read."""


def write_benchmark_json(record: Record, path: Path) -> None:
    """Write a record; a file that is there is replaced only once the new one is complete.

    Raises:
        UsageError: the file cannot be written.
    """
    write_file(path, json.dumps(to_benchmark_json(record), indent=4) + "\n")


def to_benchmark_json(record: Record) -> dict[str, Any]:
    """Return the content of pytest-benchmark's file: times of finished cases, and the record."""
    hardware, software = record.environment.hardware, record.environment.software
    return {
        "machine_info": {
            "node": hardware.host,
            **dict.fromkeys(UNKNOWN_MACHINE_FIELDS),
            "system": software.os,
            "release": software.kernel,
            "python_version": software.python,
            "cpu": {"brand_raw": hardware.cpu_model, "count": hardware.cpu_logical_cores},
        },
        "commit_info": get_commit_info(),
        "benchmarks": [  # without failed cases, as pytest-benchmark does
            _benchmark(case) for case in record.cases if case.outcome == "passed" and case.repeats
        ],
        "datetime": record.created.isoformat(),
        "version": version("pytest-benchmark"),
        "cnnperf": record_as_json(record),
    }


def _benchmark(case: CaseRecord) -> dict[str, Any]:
    test = f"test_{case.suite}"
    stats = Stats()
    for repeat in case.repeats:
        stats.update(repeat.timed_seconds)
    return {
        "group": None,
        "name": f"{test}[{case.id}]",
        "fullname": f"benchmarks/{test}.py::{test}[{case.id}]",
        "params": {"cnnperf_case": case.id},
        "param": case.id,
        "extra_info": extra_info(case),
        "options": {"timer": "perf_counter", "disable_gc": False, "warmup": False},
        "stats": {**stats.as_dict(), "data": stats.data, "iterations": 1},
    }
