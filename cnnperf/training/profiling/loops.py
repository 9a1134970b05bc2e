"""Profile a few steps of the user's own loop, by calling it again after its timed training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch

from cnnperf.errors import UsageError
from cnnperf.record.environment import Flag
from cnnperf.record.schema import Profile
from cnnperf.training.clock import synchronize
from cnnperf.training.observation import Observation, Run
from cnnperf.training.observe import observe_with
from cnnperf.training.profiling.profiler import (
    MAX_STEPS,
    MIN_STEPS,
    SECONDS,
    MarkedWait,
    no_profile,
    read_profile,
    tracing,
)

SETTLING_STEPS = 3
"""Steps before the recording: the first ones allocate, and fill the queue of a loader."""

T = TypeVar("T")


def profile_loop(
    train: Callable[[Run], object] | None,
    run: Run,
    folder: str,
    name: str,
    step_seconds: float | None,
) -> tuple[Profile | None, list[Flag]]:
    """Call a trainer until a few steps are recorded; a warning where that is not possible.

    Args:
        train: the function of the case; None of a command.
        run: what it is called with.
        folder: where the trace is written.
        name: of the trace.
        step_seconds: median time of a step, which decides how many are recorded.
    """
    if train is None:
        why = "a command is a process of its own"
        return None, [no_profile(why, "Profile the same training as a `trainer`.")]
    if step_seconds is None:
        why = "the training marks no step"
        return None, [no_profile(why, "Put its loader into `observe.steps`.")]
    wanted = max(MIN_STEPS, min(MAX_STEPS, int(SECONDS / step_seconds)))
    device = torch.device(run.device)

    def record(path: Path) -> int:
        recorder = _Recorder(run, device, path, wanted)
        observe_with(recorder)
        try:
            train(run)
        except _EnoughSteps:
            return recorder.wanted
        finally:
            observe_with(None)
        raise UsageError(
            f"no pass of the training has {SETTLING_STEPS + 1 + recorder.wanted} steps"
        )

    return read_profile(folder, name, device, record)


class _EnoughSteps(BaseException):
    """Ends the user's loop; no `except Exception` there stops it."""


class _Recorder(Observation):
    """Takes the marks of a training, and records steps instead of timing them."""

    def __init__(self, run: Run, device: torch.device, path: Path, wanted: int) -> None:
        super().__init__(run, lambda _: None, lambda: None)
        self._device, self._path = device, path
        self.wanted = wanted
        """Steps to record; fewer if a pass has not so many."""

    @contextmanager
    def training(self, *_: Any) -> Iterator[None]:
        """Let the block run."""
        self._is_training = True
        yield

    def steps(self, batches: Iterable[T]) -> Iterator[T]:
        """Yield the steps before the recording, then the recorded ones."""
        if isinstance(batches, Sized):
            self.wanted = max(MIN_STEPS, min(self.wanted, len(batches) - SETTLING_STEPS - 1))
        items: Iterator[T] = MarkedWait(batches, quiet=self._device.type == "cpu")
        for _, batch in zip(range(SETTLING_STEPS), items, strict=False):
            yield batch
        done = 0
        with tracing(self._device, self._path, self.wanted) as profiler:
            for done, batch in zip(range(1, 2 + self.wanted), items, strict=False):
                yield batch
                if done in (1, 1 + self.wanted):  # so that all launched work is recorded
                    synchronize(self._device)
                profiler.step()
        if done == 1 + self.wanted:
            raise _EnoughSteps
