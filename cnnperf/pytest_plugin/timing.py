"""Between a run and pytest-benchmark: its rounds are our trainings, timed from outside.

Torch-free. `pedantic(target=go..trained, setup=start..ready)` makes pytest-benchmark's figures
the real training's.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from cnnperf.errors import printable
from cnnperf.record.schema import CaseError, CaseRecord, extra_info
from cnnperf.run.plan import PlannedCase
from cnnperf.run.repeat import RepeatRun
from cnnperf.run.session import RunSession
from cnnperf.run.time_limit import OutOfTimeError
from cnnperf.run.worker_process import WorkerError

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

UNSTABLE_CPU_FIELDS = ("hz_actual", "hz_actual_friendly", "hz_advertised", "hz_advertised_friendly")
"""They jitter, and pytest-benchmark warns whenever machine_info is not equal to the letter."""


def train_planned(run: RunSession, planned: PlannedCase, benchmark: BenchmarkFixture) -> CaseRecord:
    """Train a case as often as planned and return its record; fails or skips the test if not."""
    if planned.problem is not None:
        _refuse(run, planned, planned.problem, benchmark)
    try:
        durations = _train_all(run, planned, benchmark)
    except WorkerError as error:
        benchmark.has_error = True
        run.fail(planned, error.as_case_error())
        pytest.fail(printable(f"{planned.case.id}: {error}"), pytrace=False)
    except OutOfTimeError as reason:  # what is finished is in the journal; a shorter case may fit
        benchmark.has_error = True
        pytest.skip(printable(f"{planned.case.id}: {reason}"))
    except BaseException:
        benchmark.has_error = True  # Ctrl-C: pytest-benchmark must not look for its figures
        raise
    record = run.finish(planned)
    if benchmark.stats is not None:
        benchmark.stats.stats.data[:] = durations
    benchmark.extra_info.update(extra_info(record))
    return record


def _refuse(
    run: RunSession, planned: PlannedCase, problem: CaseError, benchmark: BenchmarkFixture
) -> None:
    """Skip a case that cannot be trained here, or fail it where its data are required."""
    if problem.kind == "data" and run.settings.require_data:
        benchmark.disabled = True
        benchmark.pedantic(lambda: None)  # else pytest-benchmark warns that nothing was timed
        run.fail(planned, problem)
        pytest.fail(problem.message, pytrace=False)
    run.skip(planned, problem)
    pytest.skip(problem.message)


def _train_all(run: RunSession, planned: PlannedCase, benchmark: BenchmarkFixture) -> list[float]:
    """Each repeat in turn, those of a resumed journal first taken over; their outside times."""
    taken_over = run.begin(planned)
    durations = [repeat.timed_seconds for repeat in taken_over]
    done = {repeat.seed for repeat in taken_over}
    seeds = [seed for seed in planned.seeds if seed not in done]
    if not seeds:
        benchmark.pedantic(lambda: None)
        return durations
    rounds = _Rounds(run, planned, seeds)
    benchmark.cprofile = None  # it would see this process wait, and train once more for that
    with rounds:
        benchmark.pedantic(rounds.train, setup=rounds.prepare, rounds=len(seeds))
        rounds.finish()
    return durations + rounds.durations


class _Rounds:
    """The callbacks of `pedantic`: one training after another, each finished before the next."""

    def __init__(self, run: RunSession, planned: PlannedCase, seeds: list[int]) -> None:
        self._run, self._planned = run, planned
        self._seeds = iter(seeds)
        self._stack = ExitStack()
        self._current: RepeatRun | None = None
        self.durations: list[float] = []

    def __enter__(self) -> _Rounds:
        return self

    def __exit__(self, *exception: Any) -> bool | None:
        return self._stack.__exit__(*exception)

    def prepare(self) -> None:
        """Not timed: finish the training before this one, start a worker, wait for `ready`."""
        self.finish()
        seed = next(self._seeds)
        self._current = self._stack.enter_context(self._run.repeat(self._planned, seed))
        self._current.prepare()

    def train(self) -> None:
        """Timed: from `go` to `trained`."""
        assert self._current is not None
        self._current.train()

    def finish(self) -> None:
        """Not timed: keep the result and end the worker."""
        if self._current is None:
            return
        repeat = self._current.finish()
        self._current = None
        self._stack.close()
        self._run.keep(self._planned, repeat)
        self.durations.append(repeat.timed_seconds)


def describe_machine(machine_info: dict[str, Any]) -> None:
    """Take out of `machine_info` what changes by itself."""
    cpu = machine_info.get("cpu")
    if isinstance(cpu, dict):
        for name in UNSTABLE_CPU_FIELDS:
            cpu.pop(name, None)
