"""docs/verdicts.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from cnnperf.compare.thresholds import DEFAULTS, JUDGED

PAGE = (Path(__file__).parents[2] / "docs" / "verdicts.md").read_text(encoding="utf-8")


def row_of(metric: str) -> str:
    """The metric's row in the table of thresholds, by what the code has."""
    how, default = JUDGED[metric], DEFAULTS[metric]
    limit = default.threshold if how.by_ratio else default.margin
    assert limit is not None
    compared = ("ratio" if how.by_ratio else "difference") + ", paired" * how.seed_decides
    counts = f"{limit * 100:g} {'%' if how.by_ratio else 'points'}"
    return f"| `{metric}` | {compared} | {counts} | {'yes' if default.gate else 'no'} |"


def test_the_table_of_thresholds_is_that_of_the_code() -> None:
    """Every metric that is judged, and no other, with its default."""
    rows = re.findall(r"^\| `\w+` \| (?:ratio|difference).*$", PAGE, re.MULTILINE)
    assert rows == [row_of(metric) for metric in JUDGED]
