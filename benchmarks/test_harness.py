"""Measure the time that the suite itself adds to a training, and check its two clocks.

    pytest benchmarks/test_harness.py --cnnperf-tier=full

Each case trains one step, so nearly all of its time is the suite's: starting a process, importing,
preparing, passing messages, ending. The table below the results shows the times.
"""

from __future__ import annotations

import pytest

from cnnperf.pytest_plugin.plugin import TrainCase
from cnnperf.run.plan import PlannedCase
from cnnperf.run.repeat import clock_flags


@pytest.mark.cnnperf(suite="harness")
@pytest.mark.parametrize("engine", ["eager", "fast"])
@pytest.mark.parametrize(
    ("model", "dataset", "resolution", "recipe"), [("modified_vgg", "synthetic", 28, "onestep")]
)
def test_harness(cnnperf_case: PlannedCase, cnnperf_train: TrainCase) -> None:
    """The stopwatches of worker and parent agree, and messages arrive after they are sent."""
    for repeat in cnnperf_train(cnnperf_case).repeats:
        inside, outside = repeat.metrics.train_seconds, repeat.metrics.outside_train_seconds
        assert outside is not None
        flags = clock_flags(inside, outside)
        assert not flags, flags[0].message
        assert repeat.harness is not None
        assert repeat.harness.go_latency_seconds >= 0
        assert repeat.harness.trained_latency_seconds >= 0
