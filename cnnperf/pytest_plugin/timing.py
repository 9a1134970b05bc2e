"""Train a case inside pytest-benchmark: each of its rounds is one repeat, timed from outside.

`pedantic(target=..., setup=...)` times from `go` to `trained`; starting the worker is setup.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from cnnperf.errors import printable
from cnnperf.record.schema import CaseError, CaseRecord, extra_info
from cnnperf.run.numerics import check_numerics
from cnnperf.run.plan import AnyPlanned
from cnnperf.run.repeat import RepeatRun
from cnnperf.run.session import RunSession
from cnnperf.run.time_limit import OutOfTimeError
from cnnperf.run.worker_process import WorkerError

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture


def train_planned(run: RunSession, planned: AnyPlanned, benchmark: BenchmarkFixture) -> CaseRecord:
    """Train every repeat of a case and return its record; fail or skip the test otherwise."""
    if planned.problem is not None:
        _refuse(run, planned, planned.problem, benchmark)
    failure: WorkerError | OutOfTimeError
    try:
        durations = _train_all(run, planned, benchmark)
    except (WorkerError, OutOfTimeError) as error:
        failure = error
    except BaseException:
        benchmark.has_error = True  # Ctrl-C: pytest-benchmark must not read its missing figures
        raise
    else:
        return _finish(run, planned, benchmark, durations)
    # Not in the `except`: pytest would show the error too, as the cause of this one.
    benchmark.has_error = True
    reason = printable(f"{planned.id}: {failure}")
    if isinstance(failure, OutOfTimeError):  # a shorter case may still fit
        pytest.skip(reason)
    run.fail(planned, failure.as_case_error())
    pytest.fail(reason, pytrace=False)


def _finish(
    run: RunSession, planned: AnyPlanned, benchmark: BenchmarkFixture, durations: list[float]
) -> CaseRecord:
    record = run.finish(planned)
    if benchmark.stats is not None:
        benchmark.stats.stats.data[:] = durations
    benchmark.extra_info.update(extra_info(record))
    return record


def _refuse(
    run: RunSession, planned: AnyPlanned, problem: CaseError, benchmark: BenchmarkFixture
) -> None:
    """Skip a case that cannot be trained here, or fail it with --cnnperf-require-data."""
    if problem.kind == "data" and run.settings.require_data:
        benchmark.disabled = True
        benchmark.pedantic(lambda: None)  # else pytest-benchmark warns that nothing was timed
        run.fail(planned, problem)
        pytest.fail(problem.message, pytrace=False)
    run.skip(planned, problem)
    pytest.skip(problem.message)


def _train_all(run: RunSession, planned: AnyPlanned, benchmark: BenchmarkFixture) -> list[float]:
    """Train what a resumed journal lacks; return the outside times of all repeats in seconds."""
    taken_over = run.begin(planned)
    if run.settings.check_numerics:
        check_numerics(run, planned)
    durations = [repeat.timed_seconds for repeat in taken_over]
    done = {repeat.seed for repeat in taken_over}
    seeds = [seed for seed in planned.seeds if seed not in done]
    if not seeds:
        benchmark.pedantic(lambda: None)
        return durations
    benchmark.cprofile = None  # it would profile a waiting process, in an additional training
    with _Rounds(run, planned, seeds) as rounds:
        benchmark.pedantic(rounds.train, setup=rounds.prepare, rounds=len(seeds))
        rounds.finish()
    return durations + rounds.durations


class _Rounds(ExitStack):
    """The callbacks of `pedantic`: each training ends before the next one starts."""

    def __init__(self, run: RunSession, planned: AnyPlanned, seeds: list[int]) -> None:
        super().__init__()
        self._run, self._planned = run, planned
        self._seeds = iter(seeds)
        self._current: RepeatRun | None = None
        self.durations: list[float] = []

    def prepare(self) -> None:
        """Finish the previous training and start a worker; not timed."""
        self.finish()
        seed = next(self._seeds)
        self._current = self.enter_context(self._run.repeat(self._planned, seed))
        self._current.prepare()

    def train(self) -> None:
        """Run from `go` to `trained`; timed."""
        assert self._current is not None
        self._current.train()

    def finish(self) -> None:
        """Keep the result and end the worker; not timed."""
        if self._current is None:
            return
        repeat = self._current.finish()
        self._current = None
        self.close()
        self._run.keep(self._planned, repeat)
        self.durations.append(repeat.timed_seconds)
        self._run.check(repeat)
