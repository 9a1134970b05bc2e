"""Train one epoch in each precision, with and without compiling, in several batch sizes.

    pytest benchmarks/test_sweep.py --cnnperf-tier=full -k "modified_vgg and batch512"

The ids say what is varied: `modified_vgg-mnist-28-batch512-fast-bfloat16_compiled`.
"""

from __future__ import annotations

import pytest

from cnnperf.catalog.specs import Case
from cnnperf.pytest_plugin.plugin import TrainCase


@pytest.mark.cnnperf(suite="sweep")
def test_sweep(cnnperf_case: Case, cnnperf_train: TrainCase) -> None:
    """The case trains to its end in the precision that its id names."""
    record = cnnperf_train(cnnperf_case)
    assert record.outcome == "passed"
    asked = {"bfloat16"} if cnnperf_case.precision == "bfloat16" else {"float32", "tf32"}
    assert {repeat.precision for repeat in record.repeats} <= asked
