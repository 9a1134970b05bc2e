"""Train every case of the tier from start to end; one test a case, named by the case's id.

    pytest benchmarks --benchmark-json=reports/run.json
    pytest benchmarks -k "modified_vgg and mnist" --cnnperf-repeats 5

What is measured is in the record; a test fails when its training cannot be finished.
"""

from __future__ import annotations

from cnnperf.catalog.specs import Case
from cnnperf.pytest_plugin.plugin import TrainCase


def test_train(cnnperf_case: Case, cnnperf_train: TrainCase) -> None:
    """The case trains to its end, as often as it is to be repeated."""
    record = cnnperf_train(cnnperf_case)
    assert record.outcome == "passed"
    assert record.repeats
