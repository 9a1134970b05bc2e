"""The rules of a comparison: thresholds, confidence, what may differ, and when to evaluate it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnperf.compare.thresholds import Thresholds, find_thresholds
from cnnperf.compare.verdicts import Across

if TYPE_CHECKING:
    from cnnperf.compare.calibration import Calibration
    from cnnperf.compare.inputs import Side


CONFIDENCE = 0.95

FIRST_LOOK = 3
"""Repeats a side at the first look: with two, an interval is too wide to be useful."""

GROWTH = 1.6
"""Ratio of repeats from look to look: larger steps save error, smaller ones save repeats."""


@dataclass(frozen=True, kw_only=True)
class Words:
    """Names of the sides and of the options in the sentences of a comparison."""

    base: str = "base"
    new: str = "new"
    across: str | None = "--across {}"
    """Option that allows a difference, with its value as {}; None where there is none."""
    training: str = "--cnnperf-"
    """Prefix of the options of a training."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How two sides are judged."""

    thresholds: Thresholds = field(default_factory=Thresholds)
    calibration: Calibration | None = None
    """Noise of the machine; it widens thresholds that noise alone would cross."""
    confidence: float = CONFIDENCE
    """Confidence of the intervals; higher if one comparison is evaluated several times."""
    across: frozenset[Across] = frozenset()
    """What may differ between the sides."""
    drop_flagged: bool = False
    """Leave out disturbed repeats."""
    judge_shortened: bool = False
    """Also judge the speed of shortened trainings, which otherwise gates nothing."""
    pairs_devices: bool = False
    """Whether trainings are devices, of which those on both sides are paired."""
    strict: bool = False
    """Whether an inconclusive comparison fails."""
    words: Words = field(default_factory=Words)

    @property
    def one_sided_error(self) -> float:
        """Return the accepted chance of a false alarm of one verdict in one direction."""
        return (1 - self.confidence) / 2


@dataclass(frozen=True)
class Looks:
    """The looks at a comparison with a largest number of repeats a side, fixed beforehand.

    Evaluating five times at 95 % confidence, and stopping at the first result, is wrong far more
    often than once in twenty. So the looks share the error of a single test equally.

        looks = Looks(20)
        looks.schedule, looks.confidence                     # (3, 5, 8, 12, 20), 0.99

    This needs no assumption about how the looks depend on each other (Bonferroni). Cases may also
    stop at different looks and still be adjusted for each other (Holm): with K looks at m cases in
    which nothing has changed, the first false alarm needs a p-value of at most alpha / K / m, and
    there are at most K * m of them. Boundaries for normal data (Pocock, O'Brien and Fleming) would
    ask a little less of each look, but hold only roughly for three values, for ranks, and with an
    outlier.
    """

    max_repeats: int
    overall_confidence: float = CONFIDENCE
    """Confidence of all looks together."""

    @property
    def schedule(self) -> tuple[int, ...]:
        """Return the repeats a side at each look; the last look has all of them.

        >>> Looks(10).schedule, Looks(2).schedule
        ((4, 6, 10), (2,))
        """
        looks = [self.max_repeats]
        while (earlier := self.max_repeats / GROWTH ** len(looks)) >= FIRST_LOOK:
            looks.append(round(earlier))
        return tuple(reversed(looks))

    @property
    def confidence(self) -> float:
        """Return the two-sided confidence of the intervals at each look."""
        return 1 - (1 - self.overall_confidence) / len(self.schedule)


def find_rules(
    folder: Path,
    sides: Iterable[Side] = (),
    *,
    base: Path | None = None,
    config: Path | None = None,
    calibration: Path | None = None,
    **options: Any,
) -> Rules:
    """Return the rules that a user's files and options ask for.

    Args:
        folder: searched for thresholds unless `config` names the file.
        sides: what is compared, base first; thresholds may name their cases.
        base: the base's file, beside which the calibration of its machine is searched.
        config: file of thresholds.
        calibration: file of the machine's noise, used instead of the search.
        options: other fields of `Rules`.

    Raises:
        UsageError: a file cannot be read, names a case that does not exist, or is a calibration of
            another machine.
    """
    from cnnperf.compare.calibration import calibration_of, load_calibration_of

    sides = list(sides)
    thresholds = find_thresholds(config, folder)
    if thresholds.cases or thresholds.metrics:
        from cnnperf.catalog.registry import all_cases

        recorded = [case for side in sides for case in side.cases.values()]
        known = [*all_cases(), *recorded]
        qualities = [each.name for case in known for each in getattr(case, "quality", ())]
        thresholds.check_names([case.id for case in known], qualities)
    noise = None
    if calibration is not None:
        hardware = sides[0].records[0].environment.hardware
        noise = load_calibration_of(calibration, hardware, sides[0].files[0])
    elif base is not None:
        noise = calibration_of(base, sides[0].records[0].environment.hardware)
    pairs_devices = bool(sides) and all(side.is_fleet for side in sides)
    return Rules(thresholds=thresholds, calibration=noise, pairs_devices=pairs_devices, **options)
