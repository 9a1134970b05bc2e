"""Write a comparison as JSON.

cnnperf compare base.json new.json --format json | jq .verdict
"""

from __future__ import annotations

import json
from typing import Any

from cnnperf.compare.thresholds import JUDGED
from cnnperf.compare.verdicts import Comparison, MetricVerdict


def to_json(comparison: Comparison) -> str:
    """Return the comparison with either `ratio` or `difference`, by which the metric is compared.

    Absent values, infinity and NaN become null.
    """
    content: dict[str, Any] = json.loads(comparison.model_dump_json())
    for shown, case in zip(content["cases"], comparison.cases, strict=True):
        for name, metric in case.metrics.items():
            del shown["metrics"][name]["ratio" if _by_difference(name, metric) else "difference"]
    return json.dumps(content, indent=2) + "\n"


def _by_difference(name: str, metric: MetricVerdict) -> bool:
    """Return whether a metric is compared by difference; its name decides without an estimate."""
    if metric.ratio is None and metric.difference is None:
        return name in JUDGED and not JUDGED[name].by_ratio
    return metric.ratio is None
