"""The rules of a comparison: thresholds, confidence, and what may differ."""

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


@dataclass(frozen=True, kw_only=True)
class Words:
    """Names of the sides and of the options in the sentences of a comparison."""

    base: str = "base"
    new: str = "new"
    across: str | None = "--across"
    """Option that allows a difference; None where there is none."""
    training: str = "--cnnperf-"
    """Prefix of the options of a training."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How two sides are judged."""

    thresholds: Thresholds = field(default_factory=Thresholds)
    calibration: Calibration | None = None
    """Noise of the machine; it widens thresholds that noise alone would cross."""
    confidence: float = 0.95
    """Confidence of the intervals; higher if one comparison is evaluated several times."""
    across: frozenset[Across] = frozenset()
    """What may differ between the sides."""
    drop_flagged: bool = False
    """Leave out disturbed repeats."""
    judge_shortened: bool = False
    """Also judge the speed of shortened trainings, which otherwise gates nothing."""
    strict: bool = False
    """Whether an inconclusive comparison fails."""
    words: Words = field(default_factory=Words)

    @property
    def one_sided_error(self) -> float:
        """Return the accepted chance of a false alarm of one verdict in one direction."""
        return (1 - self.confidence) / 2


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
        base: the base's file, beside which the calibration of its machine is searched. Without it
            the rules have no calibration.
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
    if thresholds.cases:
        from cnnperf.catalog.registry import all_cases

        ids = [case.id for case in all_cases()]
        thresholds.check_cases([*ids, *(id_ for side in sides for id_ in side.cases)])
    noise = None
    if base is not None:
        hardware = sides[0].records[0].environment.hardware
        noise = (
            calibration_of(base, hardware)
            if calibration is None
            else load_calibration_of(calibration, hardware, str(base))
        )
    return Rules(thresholds=thresholds, calibration=noise, **options)
