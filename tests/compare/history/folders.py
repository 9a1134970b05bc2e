"""Write folders of records for tests, with figures drawn from a seed or chosen by hand."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from cnnperf.record.environment import Environment
from cnnperf.record.schema import CaseRecord, Record
from tests.examples import (
    CREATED,
    example_case_record,
    example_environment,
    example_record,
    example_repeat,
)

CASE = "modified_vgg-mnist-28-eager"


def case_with(
    seconds: Sequence[float], *, accuracy: float = 0.99, case: CaseRecord | None = None, **more: Any
) -> CaseRecord:
    """Return a case with one training for each time."""
    repeats = [
        example_repeat(seed, each, images_per_second=480_000 / each, test_accuracy=accuracy)
        for seed, each in enumerate(seconds)
    ]
    made = example_case_record(repeats=repeats)
    return made.model_copy(update=more)


def environment_with(**software: Any) -> Environment:
    """Return the example environment with other versions."""
    found = example_environment()
    return found.model_copy(update={"software": found.software.model_copy(update=software)})


def write(path: Path, record: Record, **more: Any) -> Path:
    """Write a file like that of --benchmark-json, with more keys at the top level."""
    path.parent.mkdir(parents=True, exist_ok=True)
    body = json.loads(record.model_dump_json())
    path.write_text(json.dumps({"benchmarks": [], "cnnperf": body, **more}), encoding="utf-8")
    return path


def commit_of(number: int) -> str:
    """Return the commit of a history's record with this number."""
    return f"{number:02x}" * 20


def write_history(
    folder: Path,
    levels: Sequence[float],
    *,
    noise: float = 0.003,
    seed: int = 0,
    changes: dict[int, dict[str, Any]] | None = None,
    **record: Any,
) -> list[list[float]]:
    """Write one record per day, with three trainings around each level.

    Args:
        folder: where they are written, as `000.json` and so on.
        levels: seconds of a training, one a record.
        noise: relative standard deviation of a training.
        seed: of the noise.
        changes: software from the record of that number on.
        record: more fields of every record.

    Returns:
        The seconds of each record's trainings.
    """
    random_source = random.Random(seed)
    software: dict[str, Any] = {}
    written = []
    for number, level in enumerate(levels):
        software |= (changes or {}).get(number, {})
        seconds = [level * (1 + random_source.gauss(0, noise)) for _ in range(3)]
        made = example_record(
            case_with(seconds),
            created=CREATED + timedelta(days=number),
            environment=environment_with(**software),
            **record,
        )
        write(folder / f"{number:03}.json", made, commit_info={"id": commit_of(number)})
        written.append(seconds)
    return written
