"""A trace of a few steps, recorded after the timed run so that it costs the timing nothing."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from torch.profiler import ProfilerActivity, profile, tensorboard_trace_handler

from cnnperf.clock import synchronize
from cnnperf.engines import Engine
from cnnperf.environment.schema import Flag
from cnnperf.errors import UsageError
from cnnperf.worker.failures import one_line

STEPS = 3


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


def record_profile(engine: Engine, folder: str, name: str) -> list[Flag]:
    """Record a trace; where that fails, say so, since the training itself counts all the same."""
    try:
        _record(engine, folder, name)
    except Exception as error:
        message = (
            f"No profile was recorded ({type(error).__name__}: {one_line(str(error))}). Likely a "
            "full disk or too little memory for the trace: free some and run the case again."
        )
        return [Flag(kind="no_profile", message=message)]
    return []


def _record(engine: Engine, folder: str, name: str) -> None:
    """Leave a trace that TensorBoard and Perfetto open.

    Args:
        engine: a trained engine; its weights change a little.
        folder: made when it is missing.
        name: how the trace is to be called.
    """
    activities = [ProfilerActivity.CPU]
    if engine.device.type in ("cuda", "xpu"):
        activities.append(getattr(ProfilerActivity, engine.device.type.upper()))
    engine.train_step()
    synchronize(engine.device)
    with profile(activities=activities, record_shapes=True) as profiler:
        for _ in range(STEPS):
            engine.train_step()
            profiler.step()
        synchronize(engine.device)
    worker_name = re.sub(r"[^\w.-]", "_", name)
    tensorboard_trace_handler(folder, worker_name=worker_name)(profiler)
