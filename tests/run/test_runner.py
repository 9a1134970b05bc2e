"""The parent's end of a worker, against real worker processes that really die."""

from __future__ import annotations

import os
import signal
import stat
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from cnnperf.catalog.specs import ModelSpec
from cnnperf.record.environment import Hardware
from cnnperf.record.messages import EpochDone, ProbeJob, Progress
from cnnperf.run.repeat import RepeatRun, checked_mfu
from cnnperf.run.worker_process import Worker, WorkerError, describe_progress, probe
from tests.examples import example_repeat
from tests.training.conftest import MakeJob

pytest.importorskip("torch", reason="training needs the extra `train`")


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def impostor(folder: Path, script: str) -> str:
    """An interpreter that is none."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def run_to_failure(make_job: MakeJob, model: str, **options: Any) -> tuple[WorkerError, int]:
    """Train a model that misbehaves; the error and the worker's pid."""
    with Worker(make_job(model), **options) as worker:
        worker.wait_ready()
        worker.go()
        with pytest.raises(WorkerError) as caught:
            worker.wait_trained()
    return caught.value, worker.pid


def test_training_goes_through_ready_trained_and_result(make_job: MakeJob) -> None:
    """A worker that behaves goes through the three stages and leaves no process."""
    heard = []
    with RepeatRun(make_job("good"), listener=heard.append) as run:
        run.prepare()
        run.train()
        repeat = run.finish()
        pid = repeat.worker_pid
    assert [m.result.epoch for m in heard if isinstance(m, EpochDone)] == [1, 2]
    assert [epoch.epoch for epoch in repeat.epochs] == [1, 2]
    assert repeat.seed == 3
    assert repeat.steps == 8
    assert pid is not None
    assert not is_alive(pid)


def test_a_worker_killed_by_sigkill_is_named_with_its_place(make_job: MakeJob) -> None:
    """SIGKILL leaves the worker no word; the parent says what killed it and where it was."""
    error, pid = run_to_failure(make_job, "killed")
    assert error.kind == "killed"
    assert str(error) == "killed by SIGKILL (last heard of in epoch 2 of 2, step 1)"
    assert not is_alive(pid)


def test_host_memory_that_runs_out_is_out_of_memory(make_job: MakeJob) -> None:
    """Torch's refusal to allocate is told apart from other exceptions."""
    error, _ = run_to_failure(make_job, "hungry")
    assert error.kind == "out_of_memory"
    assert "\n" not in str(error)
    assert "4000000000000000 bytes" in str(error)  # 10**15 floats of 4 bytes


def test_a_nan_loss_stops_at_once_and_names_epoch_and_step(make_job: MakeJob) -> None:
    """The sixth step is the second of epoch 2, with four steps an epoch; warm-up is not counted."""
    error, _ = run_to_failure(make_job, "diverging")
    assert error.kind == "nan_loss"
    assert "epoch 2, step 2:" in str(error)


def test_the_timeout_of_a_training_does_not_cut_its_start_short(make_job: MakeJob) -> None:
    """Importing torch takes longer than this, and may take minutes where the disk is cold."""
    with Worker(make_job("good"), timeout_seconds=0.1) as worker:
        assert worker.wait_ready().device == "cpu"


def test_start_that_hangs_times_out(
    make_job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a limit of its own, where that of a training is shorter."""
    monkeypatch.setattr("cnnperf.run.worker_process.START_SECONDS", 0.2)
    hanging = impostor(tmp_path, "exec sleep 3600")
    late = pytest.raises(WorkerError, match=r"no result after 0\.2 s \(while starting\)")
    with Worker(make_job("good"), python=hanging, timeout_seconds=0.1) as worker, late as caught:
        worker.wait_ready()
    assert caught.value.kind == "timeout"
    assert not is_alive(worker.pid)


def test_a_hang_ends_at_the_timeout(make_job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit holds from `go` to the result, and its message says where the worker hung.

    The parent's clock goes on by two hours once it has heard the last that there is to hear.
    """
    ahead_seconds = 0.0

    def heard(message: Progress | EpochDone) -> None:
        nonlocal ahead_seconds
        if describe_progress(message).endswith("epoch 2 of 2, step 1"):
            ahead_seconds = 7200.0

    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + ahead_seconds)
    monkeypatch.setattr("cnnperf.run.worker_process.time", clock)
    error, pid = run_to_failure(make_job, "hanging", timeout_seconds=3600, listener=heard)
    assert error.kind == "timeout"
    assert "no result after 3600 s (last heard of in epoch 2 of 2, step 1)" in str(error)
    assert "--cnnperf-timeout" in str(error)
    assert not is_alive(pid)


NETS = """
import time
from torch import nn

def build(*, num_classes, in_channels, resolution):
    for number in range(1000):
        print("::error::line", number)
    time.sleep(2.5)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))
"""


def test_a_slow_builder_that_prints_is_reported_and_disturbs_nothing(
    make_job: MakeJob, tmp_path: Path
) -> None:
    """The parent repeats what the worker is doing, so that a log can have a line now and then."""
    (tmp_path / "chatty_nets.py").write_text(NETS)
    model = ModelSpec(name="chatty", builder="chatty_nets:build", resolution=8, channels=(1,))
    job = make_job("good")
    job = job.model_copy(
        update={
            "case": job.case.model_copy(update={"model": "chatty"}),
            "models": (model,),
            "python_path": (*job.python_path, str(tmp_path)),
        }
    )
    heard: list[Progress | EpochDone] = []
    with RepeatRun(job, listener=heard.append, timeout_seconds=2.0) as run:
        run.prepare()
        building = list(heard)
        run.train()
        repeat = run.finish()
    assert {getattr(message, "phase", None) for message in building} == {"build"}
    assert len(building) > 1
    assert describe_progress(building[0]) == "while building the model and warming up"
    assert repeat.model_parameters == 650


def test_an_exception_gives_one_line_and_a_traceback(make_job: MakeJob) -> None:
    """The line is for the table, the traceback for the record."""
    error, _ = run_to_failure(make_job, "raising")
    assert error.kind == "exception"
    assert str(error) == "RuntimeError: the cat sat on the keyboard"
    assert error.traceback is not None
    assert "in _raise" in error.traceback


def test_exit_without_a_message_is_explained_by_standard_error(make_job: MakeJob) -> None:
    """A library that calls exit() is reported with its code and what it printed last."""
    error, _ = run_to_failure(make_job, "leaving")
    assert error.kind == "exception"
    assert str(error).endswith(
        "exit code 7 (last heard of in epoch 2 of 2, step 1): so long, and thanks for all the fish"
    )


def test_children_of_a_worker_end_with_it(make_job: MakeJob) -> None:
    """What a training has started itself is killed too: no orphans."""
    with Worker(make_job("parent")) as worker:
        worker.wait_ready()
        worker.go()
        children: list[psutil.Process] = []
        while not children:
            assert is_alive(worker.pid), "the model never started its child"
            time.sleep(0.1)
            children = psutil.Process(worker.pid).children(recursive=True)
        assert is_alive(children[0].pid)
    assert not is_alive(worker.pid)
    assert not any(is_alive(child.pid) for child in children)


def test_a_worker_ends_when_its_parent_is_gone(make_job: MakeJob) -> None:
    """Its input closes when the parent dies; it then ends itself and its children."""
    with Worker(make_job("hanging")) as worker:
        worker.wait_ready()
        assert worker._process.stdin is not None
        worker._process.stdin.close()
        assert worker._process.wait() == -signal.SIGKILL


def test_missing_interpreter_is_named(make_job: MakeJob) -> None:
    """A wrong path is a failure to start, with the path."""
    with (
        pytest.raises(WorkerError, match="/no/such/python cannot be started: No such file"),
        Worker(make_job("good"), python="/no/such/python"),
    ):
        pass


def test_unexpected_output_is_a_protocol_error(make_job: MakeJob, tmp_path: Path) -> None:
    """Something else that answers is told apart from a worker of this version."""
    with (
        pytest.raises(WorkerError, match=r"unexpected message from the worker: b'hello"),
        Worker(make_job("good"), python=impostor(tmp_path, "echo hello >/dev/fd/$4")) as worker,
    ):
        worker.wait_ready()


def test_a_probe_describes_machine_and_models() -> None:
    """The probe needs no data and measures no peak unless asked."""
    result = probe(ProbeJob(device="cpu", measure_peak=False))
    assert result.device == "cpu"
    assert result.environment.software.torch is not None
    assert result.environment.hardware.cpu_logical_cores == os.cpu_count()
    assert result.environment.hardware.matmul_flops_per_second is None


def test_an_mfu_above_the_peak_is_flagged() -> None:
    """Faster than the peak cannot be; the flag says so with the number."""
    hardware = Hardware(cpu_flags=("avx2",))
    for mfu in (None, 0.99):
        assert checked_mfu(example_repeat(mfu=mfu), hardware) == (mfu, [])
    kept, (flag,) = checked_mfu(example_repeat(mfu=1.26), hardware)
    assert kept == 1.26
    assert flag.kind == "mfu_above_peak"
    assert "126%" in flag.message
