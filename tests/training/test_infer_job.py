"""A case of suite `infer` in a real worker: trained before `go`, measured after it."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")


from cnnperf.record.messages import EpochDone, Progress  # noqa: E402
from cnnperf.run.repeat import RepeatRun, clock_flags  # noqa: E402
from tests.training.conftest import MakeJob  # noqa: E402


@pytest.fixture
def infer_job(make_job: MakeJob) -> MakeJob:
    """Jobs of suite `infer`."""

    def make(model: str, **recipe: object) -> Any:
        job = make_job(model, **recipe)
        return job.model_copy(update={"case": job.case.model_copy(update={"suite": "infer"})})

    return make


def test_an_infer_case_is_trained_before_go_and_measured_after(infer_job: MakeJob) -> None:
    """The outside clock times the measuring; the training has its own time in the record."""
    heard: list[Progress | EpochDone] = []
    stages: list[int] = []
    with RepeatRun(infer_job("good", learning_rate=0.05), listener=heard.append) as repeat_run:
        repeat_run.prepare()
        stages.append(len(heard))
        repeat_run.train()
        stages.append(len(heard))
        repeat = repeat_run.finish()
    before, measuring = heard[: stages[0]], heard[stages[0] : stages[1]]
    assert [m.result.epoch for m in before if isinstance(m, EpochDone)] == [1, 2]
    assert {m.phase for m in measuring if isinstance(m, Progress)} == {"inference"}
    inference, metrics = repeat.inference, repeat.metrics
    assert inference is not None
    assert inference.outside_seconds is not None
    assert inference.seconds <= inference.outside_seconds
    told = [flag for flag in repeat.warnings if flag.kind == "clocks_disagree"]
    assert told == clock_flags(inference.seconds, inference.outside_seconds)  # not the training's
    assert metrics.outside_train_seconds is None
    assert metrics.train_seconds >= sum(epoch.train_seconds for epoch in repeat.epochs)
    assert repeat.timed_seconds == inference.outside_seconds
    assert [(r.precision, r.batch_size) for r in inference.results] == [
        (precision, size) for precision in ("float32", "bfloat16") for size in (1, 32, 128, 1000)
    ]
    single = inference.results[0]
    assert metrics.latency_seconds_p50 == single.latency_seconds_p50
    assert metrics.latency_seconds_p99 == single.latency_seconds_p99
    rates = [r.images_per_second for r in inference.results if r.precision == "float32"]
    assert metrics.inference_images_per_second == max(rates)
    assert inference.accuracies[0].test_accuracy == metrics.test_accuracy
    assert inference.accuracies[0].agreement_fraction == 1


def test_a_sample_has_latencies_but_no_accuracies(infer_job: MakeJob) -> None:
    """After three steps there is nothing to lose; the training is as short as was asked for."""
    with RepeatRun(infer_job("good", max_steps=3)) as repeat_run:
        repeat_run.prepare()
        repeat_run.train()
        repeat = repeat_run.finish()
    assert repeat.steps == 3
    assert repeat.inference is not None
    assert len(repeat.inference.results) == 8
    assert repeat.inference.accuracies == []
    assert repeat.metrics.test_accuracy is None
    assert repeat.metrics.latency_seconds_p50 is not None
