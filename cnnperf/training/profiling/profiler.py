"""Profile a few training steps after the timed training, which is therefore not affected.

The steps use the engine's loader, graphs and optimizer, from the final weights. The result is a
trace for TensorBoard (torch-tb-profiler) and Perfetto, and the time by class in the record.

    pytest benchmarks -k modified_vgg-mnist-28-fast --cnnperf-profile=traces
    tensorboard --logdir traces
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function, schedule

from cnnperf.errors import UsageError
from cnnperf.record.environment import Flag
from cnnperf.record.schema import Profile
from cnnperf.training.clock import synchronize
from cnnperf.training.engines import Engine
from cnnperf.training.engines.base import Block
from cnnperf.training.engines.phase import WaitingTime
from cnnperf.training.profiling.attribution import attribute
from cnnperf.training.profiling.trace import DATA_WAIT, parse_trace, read_events
from cnnperf.training.worker.channel import one_line

MIN_STEPS, MAX_STEPS = 3, 10
"""Fewer steps are not representative; more make viewers slow."""

SECONDS = 1.0
"""Approximate duration of the profiled steps, within these bounds."""


def check_profile_dir(folder: str) -> None:
    """Create the folder and test that it is writable, before hours of training.

    Raises:
        UsageError: the folder cannot be written.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UsageError(
            f"--cnnperf-profile: {folder} cannot be written ({error.strerror or error}): choose "
            "another folder"
        ) from error


def record_profile(
    engine: Engine, folder: str, name: str, step_seconds: float | None
) -> tuple[Profile | None, list[Flag]]:
    """Profile a few steps; on failure, return a warning, because the training still counts.

    Profiling changes the engine's weights slightly. The trace gets this name in the folder.
    """
    if engine.foreign_loop:
        why = "another package's loop trains and cannot be stopped after a few steps"
        return None, [no_profile(why, "Profile the same case with another engine.")]
    wanted = _wanted_steps(engine, step_seconds)
    return read_profile(folder, name, engine.device, lambda path: _record(engine, path, wanted))


def read_profile(
    folder: str, name: str, device: torch.device, record: Callable[[Path], int]
) -> tuple[Profile | None, list[Flag]]:
    """Record a trace and assign its time to kinds of work; on failure, return a warning.

    `record` writes the trace to a path and returns the number of training steps in it.
    """
    file_name = re.sub(r"[^\w.-]", "_", name)
    path = Path(folder) / f"{file_name}.{time.time_ns()}.pt.trace.json.gz"
    try:
        steps = record(path)
        trace = parse_trace(read_events(path))
        found = attribute(trace, steps=steps, on_host=device.type == "cpu")
    except Exception as error:
        why = f"{type(error).__name__}: {one_line(str(error))}"
        advice = "The likely cause is a full disk or too little memory: free some and run it again."
        if path.exists():
            advice = (
                f"The trace is {path.name}. If it has no kernels, this user may not profile the "
                "device (NVIDIA: ERR_NVGPUCTRPERM), or torch's profiler does not support it."
            )
        return None, [no_profile(why, advice)]
    return found.model_copy(update={"trace": path.name}), []


def no_profile(why: str, advice: str) -> Flag:
    """Return the warning that a training has no profile."""
    return Flag(kind="no_profile", message=f"No profile was recorded ({why}). {advice}")


# --- which steps --------------------------------------------------------------------------------


def _loader_workers(engine: Engine) -> int:
    return int(engine.settings.get("dataloader_workers") or 0)


def _wanted_steps(engine: Engine, step_seconds: float | None) -> int:
    """Return the steps of about a second; two rounds of loader workers, which deliver in bursts."""
    rounds = 2 * _loader_workers(engine)
    affordable = int(SECONDS / step_seconds) if step_seconds else MIN_STEPS
    return max(MIN_STEPS, min(max(MAX_STEPS, rounds), affordable))


def _settle(engine: Engine, blocks: Iterator[Block]) -> int:
    """Train until loader and device have a steady pace; return the number of steps per block.

    The first batches of an iteration can be faster or slower than all later ones.
    """
    on_device = engine.device.type != "cpu"
    steps, deadline = 1, time.perf_counter() + SECONDS
    for _, images in islice(blocks, max(2 * _loader_workers(engine), int(on_device))):
        steps = len(images)
        if time.perf_counter() > deadline:
            break
    return steps


# --- the trace ----------------------------------------------------------------------------------


def _record(engine: Engine, path: Path, wanted_steps: int) -> int:
    """Write a trace and return the number of training steps in it.

    The first block warms up the profiler and is not recorded. The recording starts and ends when
    the device is idle, so that all launched work is inside it.
    """
    engine.waiting_time = partial(MarkedWait, quiet=engine.device.type == "cpu")
    engine.model.train()
    whole = max(1, engine.dataset.train_images // engine.recipe.batch_size)  # no short batch
    blocks = chain.from_iterable(engine.train_blocks(whole) for _ in count())
    active = max(1, wanted_steps // _settle(engine, blocks))
    steps = 0
    with tracing(engine.device, path, active) as profiler:
        for number, (_, images) in enumerate(islice(blocks, 1 + active)):
            if number in (0, active):
                synchronize(engine.device)
            if number > 0:
                steps += len(images)
            profiler.step()
    return steps


def tracing(device: torch.device, path: Path, active: int) -> profile:
    """Return a profiler that ignores its first step, and writes a trace of the next `active`."""
    activities = [ProfilerActivity.CPU]
    if device.type in ("cuda", "xpu"):
        activities.append(getattr(ProfilerActivity, device.type.upper()))
    return profile(
        activities=activities,
        schedule=schedule(wait=0, warmup=1, active=active, repeat=1),
        on_trace_ready=lambda profiler: profiler.export_chrome_trace(str(path)),
        record_shapes=True,
    )


class MarkedWait(WaitingTime[Any]):
    """Mark the wait for data in the trace, if `quiet` without the operators that run in it.

    On a CPU, a loader without workers calls thousands of small operators per batch. Recording them
    takes about as long as running them, and most of the file.
    """

    def __init__(self, batches: Iterable[Any], *, quiet: bool) -> None:
        super().__init__(batches)
        # The switch is private in torch. Without it, a trace is only larger.
        switch = getattr(torch.autograd, "_enable_record_function", None)
        self._record_operators: Callable[[bool], None] | None = switch if quiet else None

    def __next__(self) -> Any:
        with _mark(DATA_WAIT):
            if self._record_operators is None:
                return super().__next__()
            self._record_operators(False)
            try:
                return super().__next__()
            finally:
                self._record_operators(True)


def _mark(name: str) -> AbstractContextManager[Any]:
    """Return a context that records an operator of this name.

    torch-tb-profiler 0.4.3 ignores annotations, which is how torch records a DataLoader's wait.
    Without torch's private class, an annotation has to do.
    """
    operator = getattr(torch._C._profiler, "_RecordFunctionFast", record_function)
    marked: AbstractContextManager[Any] = operator(name)
    return marked
