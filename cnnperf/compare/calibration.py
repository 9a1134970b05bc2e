"""How much each case's figures vary on one machine by themselves, as `cnnperf calibrate` found it.

Torch-free. A file beside the records; `cnnperf compare` widens a threshold that a machine's own
noise would cross.

    calibration = find_calibration(Path("reports"), record.environment.hardware)
    calibration.noise("modified_vgg-digits-28-fast", "train_seconds")              # 0.012
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from cnnperf.compare.thresholds import JUDGED, MetricRule
from cnnperf.errors import UsageError
from cnnperf.machine.names import describe_machine, identity
from cnnperf.record.environment import Hardware, Software
from cnnperf.record.loading import load_json, name_of
from cnnperf.record.schema import describe_validation_error

SCHEMA_VERSION: Literal[1] = 1

SUFFIX = ".calibration.json"

EXPECTED = "a file that `cnnperf calibrate` wrote"

REMEDY = "make it anew, or take it away"

REPEATS = 5
"""A side, for which the smallest change that would be found is told."""

POWER = 0.8
"""Chance with which it would be."""

Spread = Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class CalibrationModel(BaseModel):
    """Base of everything in a calibration: a field that newer versions add is kept out."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)


class Noise(CalibrationModel):
    """One metric of one case, trained again and again with nothing changed."""

    n: Annotated[int, Field(ge=2)]
    """Trainings."""
    mean: Finite
    """In the metric's unit."""
    sd: Spread
    """Standard deviation of one training: of the natural logarithm, so 0.01 is 1 %; of accuracy and
    F1 the figure's own, so 0.01 is one point."""
    smallest_change: Spread
    """For the worse, that five repeats a side would find in four of five comparisons of this case:
    0.05 is 5 %; of accuracy and F1 five points."""


class CaseNoise(CalibrationModel):
    """One case."""

    shortened: bool = False
    """Whether it was trained for fewer epochs or steps than its recipe has."""
    flagged: Annotated[int, Field(ge=0)] = 0
    """Trainings during which something else disturbed the machine; they are counted in."""
    metrics: dict[str, Noise] = {}


class Calibration(CalibrationModel):
    """The noise of one machine."""

    schema_version: Literal[1] = SCHEMA_VERSION
    created: AwareDatetime
    hardware: Hardware
    software: Software = Software()
    cases: dict[str, CaseNoise] = {}

    def noise(self, case_id: str, metric: str, *, shortened: bool = False) -> float | None:
        """Standard deviation of one training, as `Noise.sd`; None where it was not measured.

        A shortened training wavers more than a full one, so neither speaks for the other.
        """
        case = self.cases.get(case_id)
        if case is None or case.shortened != shortened:
            return None
        found = case.metrics.get(metric)
        return None if found is None else found.sd

    def widen(self, rule: MetricRule, case_id: str, metric: str, *, shortened: bool) -> MetricRule:
        """What counts on this machine."""
        if not JUDGED[metric].by_ratio:
            return rule  # a margin of accuracy says what loss is acceptable, not what can be seen
        return rule.widened(self.noise(case_id, metric, shortened=shortened))

    def describe(self) -> str:
        """When and where it was measured, as in `2026-01-02 on AMD EPYC 9654, 16 cores`."""
        return f"{self.created:%Y-%m-%d} on {describe_machine(self.hardware)}"


def load_calibration(path: Path) -> Calibration:
    """Read and check a calibration.

    Raises:
        UsageError: the file cannot be read, or is none.
    """
    content = load_json(path, EXPECTED, REMEDY)
    if not isinstance(content, dict) or "cases" not in content or "hardware" not in content:
        raise UsageError(f"{name_of(path)} is no calibration: expected {EXPECTED}; {REMEDY}")
    _check_version(content.get("schema_version"), path)
    try:
        return Calibration.model_validate(content)
    except ValidationError as error:
        problem = describe_validation_error(error)
        raise UsageError(f"{name_of(path)}: {problem}; expected {EXPECTED}") from error


def load_calibration_of(path: Path, hardware: Hardware, whose: str) -> Calibration:
    """A calibration that somebody named, which must be of such a machine.

    Args:
        path: the file.
        hardware: of the machine.
        whose: what that machine is called in the sentence.

    Raises:
        UsageError: as `load_calibration`, or it is of another machine.
    """
    calibration = load_calibration(path)
    if identity(calibration.hardware) != identity(hardware):
        raise UsageError(
            f"{name_of(path)} is of another machine than {whose} ({calibration.describe()}): "
            "calibrate that one, or leave --calibration out"
        )
    return calibration


def _check_version(version: Any, path: Path) -> None:
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise UsageError(
            f"{name_of(path)} has schema version {version}, this cnnperf reads up to "
            f"{SCHEMA_VERSION}: update cnnperf"
        )


def find_calibration(folder: Path, hardware: Hardware) -> Calibration | None:
    """The newest calibration in a folder that was made on such a machine; None without one.

    Raises:
        UsageError: one of the folder's calibrations cannot be read. Passed over, it would change
            verdicts without a word.
    """
    wanted = identity(hardware)
    if not any(wanted) or not os.access(folder, os.R_OK | os.X_OK) or not folder.is_dir():
        return None  # a record that knows nothing of its machine fits no calibration
    files = sorted(path for path in folder.iterdir() if path.name.endswith(SUFFIX))
    found = [load_calibration(path) for path in files]
    return max(
        (each for each in found if identity(each.hardware) == wanted),
        key=lambda calibration: calibration.created,
        default=None,
    )


def calibration_of(record: Path, hardware: Hardware) -> Calibration | None:
    """The calibration beside a record, or in the folder above it, made on the record's machine.

    Raises:
        UsageError: as `find_calibration`.
    """
    folder = record.absolute().parent
    beside = find_calibration(folder, hardware)
    return beside or find_calibration(folder.parent, hardware)


def detectable(sd: float, repeats: int = REPEATS, confidence: float = 0.95) -> float:
    """How far beyond a threshold a true change must lie to be found in 80 % of comparisons.

    It is found when the interval of the t test lies wholly beyond the threshold, so this follows
    from the noncentral t distribution.

    Args:
        sd: of one training, the same on both sides; the result is on its scale.
        repeats: a side, at least 2.
        confidence: of the interval, two-sided.
    """
    from scipy import special  # at this moment: comparing with a calibration does not need it

    freedom = 2 * (repeats - 1)
    critical = special.stdtrit(freedom, (1 + confidence) / 2)
    noncentrality = special.nctdtrinc(freedom, 1 - POWER, critical)
    return float(noncentrality * sd * math.sqrt(2 / repeats))
