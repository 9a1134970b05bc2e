"""What a comparison is asked to do: thresholds, certainty, and what may differ."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from cnnperf.compare.thresholds import Thresholds

if TYPE_CHECKING:
    from cnnperf.compare.calibration import Calibration

Across = Literal["hardware", "software"]


@dataclass(frozen=True, kw_only=True)
class Words:
    """What sides and options are called where a comparison was asked for, for its sentences."""

    base: str = "base"
    new: str = "new"
    across: str | None = "--across"
    """The option that lets something differ; None where there is none."""
    training: str = "--cnnperf-"
    """What the options of a training begin with."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How two sides are judged."""

    thresholds: Thresholds = field(default_factory=Thresholds)
    calibration: Calibration | None = None
    """This machine's noise, which widens thresholds that it would cross by itself."""
    confidence: float = 0.95
    """Of the intervals; higher where one comparison is looked at several times."""
    across: frozenset[Across] = frozenset()
    """What is allowed to differ, since it is the question."""
    drop_flagged: bool = False
    """Leave out repeats that something else disturbed."""
    judge_shortened: bool = False
    """Judge the speed of shortened trainings too, which gate nothing by themselves."""
    strict: bool = False
    """Whether what cannot be told is a failure."""
    words: Words = field(default_factory=Words)

    @property
    def one_sided_error(self) -> float:
        """Chance of a false alarm that one verdict may have in one direction."""
        return (1 - self.confidence) / 2
