"""A run that must be over in time: which training still fits, and what it costs to be wrong.

    pytest benchmarks --cnnperf-max-minutes=9 --benchmark-json=reports/run.json

Torch-free. For a machine that is taken away after a while: a job of SLURM, a spot instance, a GPU
paid by the hour. A training that is cut off is lost, so none is started that is expected to be;
what is left over goes on from the journal, here or on another machine of the same kind.
"""

from __future__ import annotations

import math
import time

from cnnperf.record.metrics import format_seconds
from cnnperf.record.schema import HarnessTimes, Repeat

EXIT_OUT_OF_TIME = 75
"""Of pytest, where all is well but not all is done: EX_TEMPFAIL of sysexits.h, "try again"."""


class OutOfTimeError(Exception):
    """A training was not started, or was ended, for want of time; nothing is wrong with it."""


class TimeLimit:
    """When a run has to be over; without minutes, never.

    Args:
        minutes: from `started` on.
        started: when the run began, by the monotonic clock; now, where None.
    """

    def __init__(self, minutes: float | None, started: float | None = None) -> None:
        self.minutes = minutes
        begun = time.monotonic() if started is None else started
        self.deadline = None if minutes is None else begun + 60 * minutes
        self.reached = False
        """Whether a training had to be left for another run."""
        self.lost: list[str] = []
        """Trainings that were going on when the time was up."""
        self._longest: dict[str, float] = {}
        self._tried = False

    def note(self, case_id: str, repeat: Repeat) -> None:
        """Learn from a finished repeat, of this run or of the resumed one.

        The longest counts, not the median: an overrun costs a whole training, and on a fresh
        machine the first repeat compiles again.
        """
        seconds = lifetime_seconds(repeat)
        self._longest[case_id] = max(seconds, self._longest.get(case_id, 0.0))

    def check(self, case_id: str, guess_seconds: float | None) -> None:
        """Let a training be started, or say why not.

        A guess never keeps a run from its first training, since it may be far too high, and the run
        would then never get anywhere; a measured time does.

        Args:
            case_id: of the training.
            guess_seconds: what it takes by the plan's estimate; None where that cannot be told.

        Raises:
            OutOfTimeError: it is expected to end too late.
        """
        if self.deadline is None:
            return
        left = self.deadline - time.monotonic()
        measured = self._longest.get(case_id)
        guess = (guess_seconds or 0.0) if self._tried else 0.0
        if left <= (guess if measured is None else measured):
            self.reached = True
            raise OutOfTimeError(_why_not(left, measured, guess_seconds))
        self._tried = True

    def cut_off(self) -> OutOfTimeError:
        """What to raise where a training is still going on when the time is up."""
        self.reached = True
        return OutOfTimeError(
            f"ended after {self.minutes:g} minutes of the run (--cnnperf-max-minutes): this "
            "training is lost, and counts neither way"
        )

    @property
    def is_over(self) -> bool:
        """Whether the time is up."""
        return self.deadline is not None and time.monotonic() >= self.deadline


def _why_not(left: float, measured: float | None, guess: float | None) -> str:
    if left <= 0:
        return "no time is left (--cnnperf-max-minutes)"
    told = "took up to" if measured is not None else "takes roughly"
    seconds = measured if measured is not None else guess or math.nan
    return (
        f"{format_seconds(left)} are left (--cnnperf-max-minutes), and such a training {told} "
        f"{format_seconds(seconds)}"
    )


def lifetime_seconds(repeat: Repeat) -> float:
    """From the start of a repeat's process to its end, as far as the record tells."""
    metrics, harness = repeat.metrics, repeat.harness
    if harness is not None:
        return metrics.train_seconds + _sum_of_spans(harness)
    parts = [metrics.startup_seconds, metrics.train_seconds, metrics.test_seconds]
    if repeat.inference is not None:
        parts.append(repeat.inference.outside_seconds or repeat.inference.seconds)
    return sum(part for part in parts if part is not None)


def _sum_of_spans(harness: HarnessTimes) -> float:
    spans: dict[str, float] = harness.model_dump(exclude={"clocks_apart_seconds"})
    return sum(spans.values())
