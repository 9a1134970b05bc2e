"""Train the same models by other people's loops, side by side with `fast`, on the same clock.

    pip install 'cnnperf[peers]'
    pytest benchmarks/test_peers.py --cnnperf-tier=full --benchmark-json=reports/peers.json
    pytest benchmarks/test_peers.py --cnnperf-tier=full -k digits

The summary says how many times faster `fast` is than each. A peer whose package is not installed
is skipped.
"""

from __future__ import annotations

import pytest

from cnnperf.catalog.specs import Case
from cnnperf.pytest_plugin.plugin import TrainCase


@pytest.mark.cnnperf(suite="peers")
def test_peers(cnnperf_case: Case, cnnperf_train: TrainCase) -> None:
    """The case trains to its end, as often as it is to be repeated."""
    record = cnnperf_train(cnnperf_case)
    assert record.outcome == "passed"
    assert record.repeats
