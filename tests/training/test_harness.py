"""What a real worker's life is made of: two processes' moments on one clock."""

from __future__ import annotations

import time

import pytest

from cnnperf.run.repeat import RepeatRun
from tests.training.conftest import MakeJob

pytest.importorskip("torch", reason="training needs the extra `train`")


def test_phases_of_a_worker_add_up_to_its_life(make_job: MakeJob) -> None:
    """Spans and training fill it without gap or overlap, and none runs backwards.

    It is shorter than from before it is started until it is gone, and longer than from when it has
    been started until its result is asked for. What is measured otherwise agrees: imports and
    preparing are the startup, outside less inside is the messages' way.
    """
    before = time.monotonic()
    with RepeatRun(make_job("good")) as run:
        started = time.monotonic()
        run.prepare()
        run.train()
        trained = time.monotonic()
        repeat = run.finish()
        gone = time.monotonic()
    times, metrics = repeat.harness, repeat.metrics
    assert times is not None
    spans = times.model_dump(exclude={"clocks_apart_seconds"})
    assert min(spans.values()) >= 0, spans
    lived_seconds = sum(spans.values()) + metrics.train_seconds
    assert trained - started < lived_seconds <= gone - before
    assert metrics.startup_seconds is not None
    assert times.import_seconds + times.prepare_seconds == pytest.approx(
        metrics.startup_seconds, rel=0.05
    )
    assert metrics.outside_train_seconds is not None
    apart_seconds = metrics.outside_train_seconds - metrics.train_seconds
    assert apart_seconds >= 0
    assert times.clocks_apart_seconds == pytest.approx(apart_seconds, abs=1e-6)
    assert times.go_latency_seconds + times.trained_latency_seconds == pytest.approx(
        apart_seconds, abs=1e-6
    )
    assert metrics.harness_seconds is not None
    assert times.import_seconds < metrics.harness_seconds < sum(spans.values())
