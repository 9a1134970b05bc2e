"""docs/verdicts.md agrees with the code."""

from __future__ import annotations

import re
from pathlib import Path

from cnnperf.compare.thresholds import DEFAULTS, JUDGED

PAGE = (Path(__file__).parents[2] / "docs" / "verdicts.md").read_text(encoding="utf-8")


def row_of(metric: str) -> str:
    """Return the metric's row in the table of thresholds, from the code."""
    how, default = JUDGED[metric], DEFAULTS[metric]
    limit = default.threshold if how.by_ratio else default.margin
    assert limit is not None
    compared = ("ratio" if how.by_ratio else "difference") + ", paired" * how.seed_decides
    counts = f"{limit * 100:g} {'%' if how.by_ratio else 'points'}"
    return f"| `{metric}` | {compared} | {counts} | {'yes' if default.gate else 'no'} |"


def test_table_of_thresholds_matches_the_defaults() -> None:
    """It lists every judged metric and no other."""
    rows = re.findall(r"^\| `\w+` \| (?:ratio|difference).*$", PAGE, re.MULTILINE)
    assert rows == [row_of(metric) for metric in JUDGED]
