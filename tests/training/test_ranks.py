"""Several devices train what one device trains, and a rank that fails is named.

The ranks are real processes, started by torch's launcher and connected by gloo.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from typing import Any

import psutil
import pytest

from cnnperf.record.messages import TrainJob
from cnnperf.record.schema import Repeat
from cnnperf.run.repeat import RepeatRun
from cnnperf.run.worker_process import Worker, WorkerError
from tests.run.test_runner import is_alive
from tests.training.conftest import MakeJob

pytest.importorskip("torch", reason="training needs the extra `train`")


def trained(job: TrainJob) -> Repeat:
    """The finished repeat of a job, with the loss of every step."""
    with RepeatRun(job.model_copy(update={"deterministic": True})) as run:
        run.prepare()
        run.train()
        return run.finish()


def learned(repeat: Repeat) -> list[Any]:
    """Everything that was learned."""
    epochs = [(each.train_loss, each.val_loss, each.val_accuracy) for each in repeat.epochs]
    return [*(repeat.step_losses or []), *(value for each in epochs for value in each)]


@pytest.mark.parametrize(
    ("engine", "batch_size", "scalings"),
    [("eager", 21, ["strong"]), ("fast", 20, ["strong", "weak"])],
)
def test_two_devices_train_what_one_does(
    make_job: MakeJob, engine: str, batch_size: int, scalings: list[str]
) -> None:
    """In float64, with local batch norm, the losses of 13 epochs agree to the last float32 digit.

    The shares of a batch of 21 images are 10 and 11, and the last batch has a single image. The
    reference is one process, which normalises the two shares of each batch on their own.
    """
    recipe = {"epochs": 13, "batch_size": batch_size}
    case = {"engine": engine, "precision": "float32", "workers": 0}
    expected = trained(make_job("twice_normed", **recipe, **case))
    for scaling in scalings:
        each = batch_size // 2 if scaling == "weak" else batch_size
        group = {"devices": 2, "scaling": scaling, "batch_size": each}
        found = trained(make_job("normed", **{**recipe, **case, **group}))
        assert found.steps == expected.steps > 50
        assert learned(found) == pytest.approx(learned(expected), rel=1e-6)
        assert found.confusion == expected.confusion
        assert found.metrics.test_loss == pytest.approx(expected.metrics.test_loss, rel=1e-6)


@pytest.mark.parametrize("package", ["lightning", "accelerate"])
def test_peers_train_the_same_on_two_devices(make_job: MakeJob, package: str) -> None:
    """Their own data parallelism learns what the reference does, and is not ours."""
    pytest.importorskip(package, reason="needs the extra `peers`")
    expected = trained(make_job("twice_normed", engine=package, workers=0))
    found = trained(make_job("normed", engine=package, workers=0, devices=2))
    assert found.step_losses == pytest.approx(expected.step_losses, rel=1e-6)


def failure(job: TrainJob, **options: Any) -> tuple[WorkerError, list[psutil.Process]]:
    """The error of a training on two devices whose second misbehaves, and all its processes."""
    with Worker(job, **options) as worker:
        worker.wait_ready()
        started = psutil.Process(worker.pid).children(recursive=True)
        worker.go()
        with pytest.raises(WorkerError) as caught:
            worker.wait_result()
    return caught.value, started


HERE = f"rank 1 on {socket.gethostname()}"


@pytest.mark.parametrize(
    ("model", "kind", "message"),
    [
        ("killed", "killed", f"{HERE}: killed by SIGKILL"),
        ("raising", "exception", f"{HERE}: RuntimeError: the cat sat on the keyboard"),
        ("hungry", "out_of_memory", f"{HERE}: out of memory: "),
        ("hanging", "timeout", f"the others wait for {HERE}"),
    ],
)
def test_a_rank_that_fails_is_named(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch, model: str, kind: str, message: str
) -> None:
    """With its host and the reason, and none of its processes stays."""
    monkeypatch.setenv("TINY_RANK", "1")
    limit = {"timeout_seconds": 12.0} if model == "hanging" else {}
    error, started = failure(make_job(model, devices=2), **limit)
    assert error.kind == kind
    assert message in str(error)
    assert len(started) >= 4, "two ranks with their guardians"
    assert not any(is_alive(process.pid) for process in started)


def test_ranks_end_with_the_launcher(make_job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    """`kill -9` of the launcher leaves no rank behind."""
    monkeypatch.setenv("TINY_RANK", "1")
    with Worker(make_job("hanging", devices=2)) as worker:
        worker.wait_ready()
        started = psutil.Process(worker.pid).children(recursive=True)
        ranks = [process for process in started if "--rank" in process.cmdline()]
        assert len(ranks) == 4, "two ranks with their guardians"
        os.kill(worker.pid, signal.SIGKILL)
        deadline = time.monotonic() + 30
        while any(is_alive(rank.pid) for rank in ranks) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not any(is_alive(rank.pid) for rank in ranks)
