"""Percentiles of measured times, each only where there are enough times to tell it.

The p99 of a handful would be another name for their maximum, which one hiccup decides.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MIN_TIMES_P90 = 10
MIN_TIMES_P99 = 100
"""So that at least one time lies above the percentile."""


def percentiles(seconds: Sequence[float]) -> dict[str, float | None]:
    """`p50`, `p90` and `p99` of one or more times; None where there are too few for one."""
    p50, p90, p99 = np.percentile(seconds, [50, 90, 99]).tolist()
    return {
        "p50": p50,
        "p90": p90 if len(seconds) >= MIN_TIMES_P90 else None,
        "p99": p99 if len(seconds) >= MIN_TIMES_P99 else None,
    }
