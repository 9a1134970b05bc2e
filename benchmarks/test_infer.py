"""Train a model, then measure its inference: latency, throughput, and what each precision costs.

    pytest benchmarks/test_infer.py --cnnperf-tier=full --benchmark-json=reports/infer.json
    pytest benchmarks/test_infer.py --cnnperf-tier=full -k digits

Training comes before pytest-benchmark's clock starts. What that clock times is the measuring, whose
length is a budget: compare the latency and the images/s in the table below the results.
"""

from __future__ import annotations

import pytest

from cnnperf.catalog.specs import Case
from cnnperf.pytest_plugin.plugin import TrainCase


@pytest.mark.cnnperf(suite="infer")
def test_infer(cnnperf_case: Case, cnnperf_train: TrainCase) -> None:
    """Every repeat has what it took to predict, and the case is done."""
    for repeat in cnnperf_train(cnnperf_case).repeats:
        assert repeat.inference is not None
        assert repeat.inference.results
