"""What the suite itself costs per training, and whether its two clocks agree.

    pytest benchmarks/test_harness.py --cnnperf-tier=full

Each case trains one step, so that nearly all of its time is the suite's own: starting a process,
importing, preparing, handing over, ending. The table below the results has the times.
"""

from __future__ import annotations

import pytest

from cnnperf.catalog.specs import Case
from cnnperf.pytest_plugin.plugin import TrainCase
from cnnperf.run.repeat import clock_flags


@pytest.mark.cnnperf(suite="harness")
def test_harness(cnnperf_case: Case, cnnperf_train: TrainCase) -> None:
    """The worker's stopwatch and this process's agree, and their messages go forward in time."""
    for repeat in cnnperf_train(cnnperf_case).repeats:
        inside, outside = repeat.metrics.train_seconds, repeat.metrics.outside_train_seconds
        assert outside is not None
        flags = clock_flags(inside, outside)
        assert not flags, flags[0].message
        assert repeat.harness is not None
        assert repeat.harness.go_latency_seconds >= 0
        assert repeat.harness.trained_latency_seconds >= 0
