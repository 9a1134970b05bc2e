"""Write a history for other programs: CSV, a line for each point; JSON, series with their steps."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from cnnperf.compare.history.load import Loaded, Point
from cnnperf.compare.history.series import Series, Step
from cnnperf.errors import inert_json
from cnnperf.report.html.content import Cell, csv_lines

FORMAT_VERSION = 1

CSV_COLUMNS = (
    "case", "machine", "metric", "distinction", "created", "file", "commit", "n", "median", "low",
    "high", "level", "step_ratio", "step_difference", "is_outlier", "is_disturbed",
    "is_interrupted",
)  # fmt: skip


def to_csv(series: Sequence[Series]) -> str:
    """Return a line for each point, by series and time; a missing value is empty."""
    return csv_lines([CSV_COLUMNS, *(line for each in series for line in _lines(each))])


def _lines(series: Series) -> Iterator[list[Cell]]:
    steps = {step.index: step.estimate for step in series.steps}
    for level in series.levels:
        for index in range(level.start, level.stop):
            values = {
                "case": series.case_id,
                "machine": series.machine_label,
                "metric": series.metric,
                "distinction": series.distinction,
                **_point(series.points[index]),
                "level": level.value,
                "step_ratio" if series.by_ratio else "step_difference": steps.get(index),
                "is_outlier": index in series.outliers,
            }
            cells = [values.get(name) for name in CSV_COLUMNS]
            yield [int(cell) if isinstance(cell, bool) else cell for cell in cells]


def to_json(loaded: Loaded, series: Sequence[Series]) -> str:
    """Return the whole history."""
    content = {
        "cnnperf_history": FORMAT_VERSION,
        "folder": str(loaded.folder),
        "records": loaded.records,
        "series": list(map(_series, series)),
        "warnings": list(loaded.warnings),
        "notes": list(loaded.notes),
    }
    return inert_json(json.dumps(content, indent=1, allow_nan=False)) + "\n"


def _series(series: Series) -> dict[str, Any]:
    return {
        "case": series.case_id,
        "machine": series.machine_label,
        "metric": series.metric,
        "distinction": series.distinction,
        "threshold": series.rule.threshold,
        "is_too_short": series.is_too_short,
        "levels": [asdict(each) for each in series.levels],
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
