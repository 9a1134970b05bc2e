"""A trace of a few steps, recorded after the timed run so that it costs the timing nothing."""

from __future__ import annotations

import re
from pathlib import Path

from torch.profiler import ProfilerActivity, profile, tensorboard_trace_handler

from cnnperf.clock import synchronize
from cnnperf.engines import Engine

STEPS = 3


def record_profile(engine: Engine, folder: str, name: str) -> None:
    """Leave a trace that TensorBoard and Perfetto open.

    Args:
        engine: a trained engine; its weights change a little.
        folder: made when it is missing.
        name: how the trace is to be called.
    """
    activities = [ProfilerActivity.CPU]
    if engine.device.type in ("cuda", "xpu"):
        activities.append(getattr(ProfilerActivity, engine.device.type.upper()))
    Path(folder).mkdir(parents=True, exist_ok=True)
    engine.train_step()
    synchronize(engine.device)
    with profile(activities=activities, record_shapes=True) as profiler:
        for _ in range(STEPS):
            engine.train_step()
            profiler.step()
        synchronize(engine.device)
    worker_name = re.sub(r"[^\w.-]", "_", name)
    tensorboard_trace_handler(folder, worker_name=worker_name)(profiler)
