"""Folders of records for tests, every figure in them drawn from a seed or chosen by hand."""

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
    """A case with a training for each of these times."""
    repeats = [
        example_repeat(seed, each, images_per_second=480_000 / each, test_accuracy=accuracy)
        for seed, each in enumerate(seconds)
    ]
    made = example_case_record(repeats=repeats)
    return made.model_copy(update=more)


def environment_with(**software: Any) -> Environment:
    """The example's, with other versions."""
    found = example_environment()
    return found.model_copy(update={"software": found.software.model_copy(update=software)})


def write(path: Path, record: Record, **more: Any) -> Path:
    """A file as --benchmark-json writes it, with more keys at its top."""
    path.parent.mkdir(parents=True, exist_ok=True)
    body = json.loads(record.model_dump_json())
    path.write_text(json.dumps({"benchmarks": [], "cnnperf": body, **more}), encoding="utf-8")
    return path


def commit_of(number: int) -> str:
    """The commit that a history's record of that number is of."""
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
    """A record a day, of three trainings around each level.

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
