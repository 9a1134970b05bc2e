"""Train a model, then measure inference: latency (p50, p90, p99), images/s, accuracy by precision.

    pytest benchmarks/test_infer.py --cnnperf-tier=full --benchmark-json=reports/infer.json
    pytest benchmarks/test_infer.py --cnnperf-tier=full -k digits

Training ends before pytest-benchmark's clock starts. That clock times the measuring, which has a
fixed budget: compare latency and images/s in the table below the results instead.
"""

from __future__ import annotations

import pytest

from cnnperf.pytest_plugin.plugin import TrainCase
from cnnperf.run.plan import PlannedCase

MODELS = [
    ("modified_vgg", "digits", 28, "infer"),  # 3 epochs of batches of 32, so accuracy counts
    ("modified_resnet", "digits", 28, "infer"),
    ("modified_vgg", "mnist", 28, "infer"),
    ("modified_resnet", "mnist", 28, "infer"),
    ("resnet34", "digits", 224, "infersample"),  # 4 steps of 4 images: speed only
    ("vgg16", "digits", 224, "infersample"),
]


@pytest.mark.cnnperf(suite="infer")
@pytest.mark.parametrize("engine", ["fast"])
@pytest.mark.parametrize(("model", "dataset", "resolution", "recipe"), MODELS)
def test_infer(cnnperf_case: PlannedCase, cnnperf_train: TrainCase) -> None:
    """The model trains, then predicts in every precision and batch size."""
    cnnperf_train(cnnperf_case)
