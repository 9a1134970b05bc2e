"""Where the time of several devices goes: computing, messages, the slowest rank, waiting for data.

After the timed run, each rank times a few steps with averaged gradients and a few without, in
turns: what a rank computes alone, what the slowest of them adds, and what messages cost beyond the
computation that hides them.
"""

from __future__ import annotations

import os
import socket
import statistics
import time
from collections.abc import Callable

import torch

from cnnperf.machine.nvml import hash_uuid
from cnnperf.record.group import Group, RankTimes
from cnnperf.training.clock import synchronize
from cnnperf.training.engines import Engine
from cnnperf.training.loop import TrainingLog
from cnnperf.training.worker.device import peak_bytes

ROUNDS = 3
"""Turns of both kinds of steps; the median of each counts."""

SECONDS = 0.5
"""Approximate duration of the steps of one kind in a turn; one step at least."""


def describe_group(engine: Engine, log: TrainingLog) -> Group:
    """Time the ranks of a finished training and return the same description on each."""
    ranks, case = engine.ranks, engine.case
    shared, alone = _time_in_turns(engine, statistics.median(log.step_seconds))
    own = RankTimes(
        rank=ranks.rank,
        host=socket.gethostname(),
        device=str(engine.device),
        gpu_uuid_sha256=_uuid(engine),
        worker_pid=os.getpid(),
        compute_seconds_per_step=alone,
        data_wait_fraction=log.data_wait_fraction,
        peak_memory_bytes=peak_bytes(engine.device),
    )
    parameters = engine.model.parameters()
    return Group(
        devices=ranks.size,
        scaling=case.scaling,
        nodes=int(os.environ["GROUP_WORLD_SIZE"]),
        backend=ranks.backend,
        images_per_step=engine.recipe.batch_size,
        gradient_bytes=sum(each.numel() * each.element_size() for each in parameters),
        step_seconds=shared if shared is None else ranks.slowest(shared),
        ranks=ranks.gather(own),
    )


def _uuid(engine: Engine) -> str | None:
    if engine.device.type != "cuda":
        return None
    uuid = getattr(torch.cuda.get_device_properties(engine.device), "uuid", None)
    return None if uuid is None else hash_uuid(f"GPU-{uuid}")


def _time_in_turns(engine: Engine, step_seconds: float) -> tuple[float | None, float | None]:
    """Return the median seconds of a step with the others, and alone; None in a foreign loop.

    The steps are on noise of this rank's batch. What they change is not used any more.
    """
    if engine.foreign_loop:
        return None, None
    engine.weight = 1.0
    steps = max(1, int(SECONDS / engine.ranks.slowest(step_seconds)))
    rounds = ROUNDS if step_seconds < SECONDS else 1
    shared, alone = [], []
    for _ in range(rounds):
        shared.append(_seconds(engine, steps, engine.train_step))
        with engine.on_a_copy():
            alone.append(_seconds(engine, steps, engine.step_alone()))
    return statistics.median(shared), statistics.median(alone)


def _seconds(engine: Engine, steps: int, step: Callable[[], object]) -> float:
    step()
    synchronize(engine.device)
    engine.ranks.barrier()
    start = time.perf_counter()
    for _ in range(steps):
        step()
    synchronize(engine.device)
    return (time.perf_counter() - start) / steps
