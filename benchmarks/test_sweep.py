"""Train one epoch of MNIST in each precision, compiled and not, in several batch sizes.

    pytest benchmarks/test_sweep.py --cnnperf-tier=full -k "modified_vgg and batch512"

The ids name what varies: `modified_vgg-mnist-28-batch512-fast-bfloat16_compiled`.
"""

from __future__ import annotations

import pytest

from cnnperf.pytest_plugin.plugin import TrainCase
from cnnperf.run.plan import PlannedCase

MODELS = [
    ("modified_vgg", "mnist", 28),
    ("modified_resnet", "mnist", 28),
    ("resnet34", "mnist", 224),
    ("vgg16", "mnist", 224),
]
BATCHES = ["batch32", "batch128", "batch512", "batch2048"]  # at 224 pixels up to 512
EXECUTIONS = [
    "float32_uncompiled",
    "float32_compiled",
    "bfloat16_uncompiled",
    "bfloat16_compiled",
]


@pytest.mark.cnnperf(suite="sweep")
@pytest.mark.parametrize("variant", EXECUTIONS)
@pytest.mark.parametrize("engine", ["fast"])
@pytest.mark.parametrize("recipe", BATCHES)
@pytest.mark.parametrize(("model", "dataset", "resolution"), MODELS)
def test_sweep(cnnperf_case: PlannedCase, cnnperf_train: TrainCase) -> None:
    """The training uses the precision in its id."""
    record = cnnperf_train(cnnperf_case)
    expected = {"bfloat16"} if cnnperf_case.precision == "bfloat16" else {"float32", "tf32"}
    assert {repeat.precision for repeat in record.repeats} <= expected
