"""A profile of a few training steps, recorded after the timed run so that it costs that nothing.

Torch half. The steps are the engine's own: its loader, its graphs, its optimizer, on the weights
that the training has ended with. What is left is a trace that TensorBoard (torch-tb-profiler) and
Perfetto open, and in the record where the time went.

    pytest benchmarks -k modified_vgg-mnist-28-fast --cnnperf-profile=traces
    tensorboard --logdir traces
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function, schedule

from cnnperf.errors import UsageError
from cnnperf.record.environment import Flag
from cnnperf.record.schema import Profile
from cnnperf.training.clock import synchronize
from cnnperf.training.engines import Engine
from cnnperf.training.engines.base import Block, WaitingTime
from cnnperf.training.profiling.attribution import attribute
from cnnperf.training.profiling.trace import DATA_WAIT, parse_trace, read_events
from cnnperf.training.worker.failures import one_line

MIN_STEPS, MAX_STEPS = 3, 10
"""Fewer say little of a step; more make a trace that viewers are slow with."""

SECONDS = 1.0
"""Of profiled steps, within these bounds: a profile a repeat must stay cheap."""


def check_profile_dir(folder: str) -> None:
    """Make the folder, and a file in it, before hours of training.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UsageError(
            f"--cnnperf-profile: {folder} cannot be written: {error.strerror or error}"
        ) from error


def record_profile(
    engine: Engine, folder: str, name: str, step_seconds: float | None
) -> tuple[Profile | None, list[Flag]]:
    """Profile a few steps; where that fails, say so, since the training itself counts all the same.

    Args:
        engine: a trained engine; its weights change a little.
        folder: for the trace.
        name: how the trace is to be called.
        step_seconds: of a training step, where that is known.
    """
    if engine.foreign_loop:
        why = "another package's loop trains, which cannot be stopped after a few steps"
        return None, [_no_profile(why, "Profile the same case with another engine.")]
    worker_name = re.sub(r"[^\w.-]", "_", name)
    path = Path(folder) / f"{worker_name}.{time.time_ns()}.pt.trace.json.gz"
    try:
        steps = _record(engine, path, _wanted_steps(engine, step_seconds))
        trace = parse_trace(read_events(path))
        found = attribute(trace, steps=steps, on_host=engine.device.type == "cpu")
    except Exception as error:
        why = f"{type(error).__name__}: {one_line(str(error))}"
        return None, [_no_profile(why, _advice(path))]
    return found.model_copy(update={"trace": path.name}), []


def _no_profile(why: str, advice: str) -> Flag:
    return Flag(kind="no_profile", message=f"No profile was recorded ({why}). {advice}")


def _advice(path: Path) -> str:
    if path.exists():
        return (
            f"Its trace is {path.name}. If that has no kernels, this user may not profile this "
            "device (NVIDIA: ERR_NVGPUCTRPERM), or torch's profiler does not know it."
        )
    return (
        "Likely a full disk or too little memory for the trace: free some and run the case again."
    )


# --- which steps --------------------------------------------------------------------------------


def _loader_workers(engine: Engine) -> int:
    return int(engine.settings.get("dataloader_workers") or 0)


def _wanted_steps(engine: Engine, step_seconds: float | None) -> int:
    """About a second's; of a loader with workers two rounds, since they deliver in bursts."""
    rounds = 2 * _loader_workers(engine)
    affordable = int(SECONDS / step_seconds) if step_seconds else MIN_STEPS
    return max(MIN_STEPS, min(max(MAX_STEPS, rounds), affordable))


def _blocks(engine: Engine) -> Iterator[Block]:
    """Training as it goes on, epoch after epoch, without the short batch at an epoch's end."""
    whole = max(1, engine.dataset.train_images // engine.recipe.batch_size)
    engine.model.train()
    while True:
        yield from engine.train_blocks(whole)


def _settle(engine: Engine, blocks: Iterator[Block]) -> int:
    """Train until loader and device have their pace; returns the steps of a block.

    The first batches of an iteration come as fast as they never will again, or slower.
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
    """Leave a trace; returns how many training steps are in it.

    The profiler itself needs a block to get warm, which is not kept. Steps are cut where the device
    has nothing left to do, so that all that was launched in them has run in them.
    """
    engine.waiting_time = QuietWait if engine.device.type == "cpu" else MarkedWait
    blocks = _blocks(engine)
    active = max(1, wanted_steps // _settle(engine, blocks))
    steps = 0
    with profile(
        activities=_activities(engine.device),
        schedule=schedule(wait=0, warmup=1, active=active, repeat=1),
        on_trace_ready=lambda profiler: profiler.export_chrome_trace(str(path)),
        record_shapes=True,
    ) as profiler:
        for number, (_, images) in enumerate(islice(blocks, 1 + active)):
            if number in (0, active):
                synchronize(engine.device)
            if number > 0:
                steps += len(images)
            profiler.step()
    return steps


def _activities(device: torch.device) -> list[ProfilerActivity]:
    activities = [ProfilerActivity.CPU]
    if device.type in ("cuda", "xpu"):
        activities.append(getattr(ProfilerActivity, device.type.upper()))
    return activities


class MarkedWait(WaitingTime[Any]):
    """Waiting for data, marked in the trace."""

    def __next__(self) -> Any:
        with _mark(DATA_WAIT):
            return super().__next__()


class QuietWait(WaitingTime[Any]):
    """The same, with what is done meanwhile kept out of the trace.

    On a CPU, a loader without workers calls thousands of small operators a batch. Recording them
    takes about as long as running them, and most of the file.
    """

    def __next__(self) -> Any:
        with _mark(DATA_WAIT):
            _record_operators(False)
            try:
                return super().__next__()
            finally:
                _record_operators(True)


def _mark(name: str) -> AbstractContextManager[Any]:
    """An operator of this name in the trace.

    torch-tb-profiler 0.4.3 overlooks annotations, as which torch itself writes the waiting for a
    DataLoader. Without torch's private class it is one here too.
    """
    operator = getattr(torch._C._profiler, "_RecordFunctionFast", record_function)
    marked: AbstractContextManager[Any] = operator(name)
    return marked


def _record_operators(wanted: bool) -> None:
    """Torch has this switch, but not as a public name; without it a trace is just larger."""
    switch = getattr(torch.autograd, "_enable_record_function", None)
    if switch is not None:
        switch(wanted)
