"""A time limit of a run: which training still fits.

    pytest benchmarks --cnnperf-max-minutes=9 --benchmark-json=reports/run.json

Use it where the machine is taken away: a SLURM job, a spot instance, a GPU paid by the hour. A
training that is cut off is lost, so one that is expected not to finish is not started. The journal
continues the run later, also on another machine of the same kind.
"""

from __future__ import annotations

import math
import time

from cnnperf.record.metrics import format_seconds
from cnnperf.record.schema import Repeat

EXIT_OUT_OF_TIME = 75
"""Exit code of a run that is unfinished but has no failure: EX_TEMPFAIL of sysexits.h."""


class OutOfTimeError(Exception):
    """A training was not started, or was ended, because of the time limit."""


class TimeLimit:
    """When a run has to end.

    Args:
        minutes: counted from `started`; None for no limit.
        started: start of the run in seconds of the monotonic clock; None for now.
    """

    def __init__(self, minutes: float | None, started: float | None = None) -> None:
        self.minutes = minutes
        started = time.monotonic() if started is None else started
        self.deadline = None if minutes is None else started + 60 * minutes
        self.reached = False
        """Whether a training was left for another run."""
        self.lost: list[str] = []
        """Trainings that the limit cut off."""
        self._longest: dict[str, float] = {}
        self._tried = False

    def note(self, case_id: str, repeat: Repeat) -> None:
        """Note the time of a finished repeat, of this run or of the resumed one.

        The longest counts, not the median: an overrun costs a whole training, and on another
        machine the first repeat compiles again.
        """
        seconds = lifetime_seconds(repeat)
        self._longest[case_id] = max(seconds, self._longest.get(case_id, 0.0))

    def check(self, case_id: str, guess_seconds: float | None) -> None:
        """Check that a training fits into the time left.

        An estimate never prevents the first training: it may be far too high, and the run would
        make no progress. A measured time does prevent it.

        The guess is the plan's estimate; None if there is none.

        Raises:
            OutOfTimeError: the training is expected to end too late.
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
        """Return the error of a training that is in progress when the time is up."""
        self.reached = True
        return OutOfTimeError(
            f"ended after {self.minutes:g} minutes of the run (--cnnperf-max-minutes): this "
            "training is lost and does not count"
        )

    @property
    def is_over(self) -> bool:
        """Return whether the time is up."""
        return self.deadline is not None and time.monotonic() >= self.deadline


def _why_not(left: float, measured: float | None, guess: float | None) -> str:
    if left <= 0:
        return "no time is left (--cnnperf-max-minutes)"
    takes = "took up to" if measured is not None else "takes roughly"
    seconds = measured if measured is not None else guess or math.nan
    return (
        f"{format_seconds(left)} are left (--cnnperf-max-minutes), and such a training {takes} "
        f"{format_seconds(seconds)}"
    )


def lifetime_seconds(repeat: Repeat) -> float:
    """Return the time from the start of a repeat's process to its end, as far as recorded."""
    metrics, harness = repeat.metrics, repeat.harness
    if harness is not None:
        spans: dict[str, float] = harness.model_dump(exclude={"clocks_apart_seconds"})
        return metrics.train_seconds + sum(spans.values())
    parts = [metrics.startup_seconds, metrics.train_seconds, metrics.test_seconds]
    if repeat.inference is not None:
        parts.append(repeat.inference.outside_seconds or repeat.inference.seconds)
    return sum(part for part in parts if part is not None)
