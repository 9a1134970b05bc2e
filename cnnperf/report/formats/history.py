"""A history for other programs: CSV, a line a point; JSON, a series with its points and steps.

Torch-free.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from typing import Any

from cnnperf.compare.history.load import Loaded, Point
from cnnperf.compare.history.series import Series, Step
from cnnperf.errors import printable

FORMAT_VERSION = 1

COLUMNS = (
    "case",
    "machine",
    "metric",
    "distinction",
    "created",
    "file",
    "commit",
    "n",
    "median",
    "low",
    "high",
    "level",
    "step_ratio",
    "step_difference",
    "is_outlier",
    "is_disturbed",
    "is_interrupted",
)

FORMULA_STARTS = ("=", "+", "-", "@")
"""With which a spreadsheet takes a text for a formula."""


def to_csv(series: Sequence[Series]) -> str:
    """A line a point, in the order of series and time; empty where there is no value."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for each in series:
        writer.writerows(_lines(each))
    return text.getvalue()


def _lines(series: Series) -> Iterator[list[Any]]:
    steps = {step.index: step for step in series.steps}
    for level in series.levels:
        for index in range(level.start, level.stop):
            point, step = series.points[index], steps.get(index)
            moved = (step.estimate if step else None,)
            yield [
                *map(_text, (series.case_id, series.machine_label, series.metric)),
                _text(series.distinction or ""),
                point.created.isoformat(),
                *map(_text, (point.file, point.commit or "")),
                point.n,
                point.median,
                point.low,
                point.high,
                level.value,
                *(moved if series.by_ratio else (None,)),
                *((None,) if series.by_ratio else moved),
                *map(int, (index in series.outliers, point.disturbed, point.interrupted)),
            ]


def _text(text: str) -> str:
    """Text that a terminal does not obey, and no spreadsheet takes for a formula."""
    text = printable(text)
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def to_json(loaded: Loaded, series: Sequence[Series]) -> str:
    """All of it."""
    content = {
        "cnnperf_history": FORMAT_VERSION,
        "folder": str(loaded.folder),
        "records": loaded.records,
        "series": list(map(_series, series)),
        "warnings": list(loaded.warnings),
        "notes": list(loaded.notes),
    }
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def _series(series: Series) -> dict[str, Any]:
    return {
        "case": series.case_id,
        "machine": series.machine_label,
        "metric": series.metric,
        "distinction": series.distinction,
        "threshold": series.rule.threshold,
        "is_too_short": series.is_too_short,
        "levels": [
            {"start": each.start, "stop": each.stop, "value": each.value} for each in series.levels
        ],
        "steps": [_step(each, series.by_ratio) for each in series.steps],
        "outliers": sorted(series.outliers),
        "points": list(map(_point, series.points)),
    }


def _step(step: Step, by_ratio: bool) -> dict[str, Any]:
    return {
        "index": step.index,
        "created": step.after.created.isoformat(),
        "before": {"file": step.before.file, "commit": step.before.commit, "value": step.old},
        "after": {"file": step.after.file, "commit": step.after.commit, "value": step.new},
        "ratio" if by_ratio else "difference": step.estimate,
        "low": step.low,
        "high": step.high,
        "is_better": step.is_better,
        "changes": [each.model_dump(include={"field", "base", "new"}) for each in step.changes],
    }


def _point(point: Point) -> dict[str, Any]:
    return {
        "created": point.created.isoformat(),
        "file": point.file,
        "commit": point.commit,
        "n": point.n,
        "median": point.median,
        "low": point.low,
        "high": point.high,
        "is_disturbed": point.disturbed,
        "is_interrupted": point.interrupted,
    }
