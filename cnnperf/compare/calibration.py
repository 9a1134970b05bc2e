"""The noise of one machine: how much each case's metrics vary although nothing changes.

`cnnperf calibrate` writes it into a file beside the records. `cnnperf compare` then widens the
thresholds that this noise would cross.

    calibration = find_calibration(Path("reports"), record.environment.hardware)
    calibration.noise("modified_vgg-digits-28-fast", "train_seconds")              # 0.012
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cnnperf.compare.thresholds import JUDGED, MetricRule
from cnnperf.errors import UsageError, describe_validation_error
from cnnperf.machine.names import describe_machine, hardware_difference, identity
from cnnperf.record.environment import STRICT, Finite, Hardware, Moment, Software
from cnnperf.record.files import name_of
from cnnperf.record.loading import load_json

SCHEMA_VERSION: Literal[1] = 1

SUFFIX = ".calibration.json"

EXPECTED = "a file that `cnnperf calibrate` wrote"

REMEDY = "run `cnnperf calibrate` again, or remove the file"

REPEATS = 5
"""Repeats per side for which the smallest detectable change is reported."""

POWER = 0.8
"""Probability of finding that change."""

Spread = Annotated[float, Field(ge=0, le=10)]


class CalibrationModel(BaseModel):
    """Base of the models in a calibration, as strict as a record."""

    model_config = ConfigDict(**STRICT, frozen=True)


class Noise(CalibrationModel):
    """Variation of one metric of one case over trainings with nothing changed."""

    n: Annotated[int, Field(ge=2)]
    """Number of trainings."""
    mean: Finite
    """In the metric's unit."""
    sd: Spread
    """Standard deviation of one training, on the scale of the natural logarithm (0.01 is 1 %);
    for accuracy and F1, of the value itself (0.01 is one point)."""
    smallest_change: Spread
    """Smallest change for the worse that five repeats per side find in four of five comparisons:
    0.05 is 5 %; for accuracy and F1, five points."""


class CaseNoise(CalibrationModel):
    """Noise of one case's metrics."""

    shortened: bool = False
    """Whether trainings had fewer epochs or steps than the recipe."""
    flagged: Annotated[int, Field(ge=0)] = 0
    """Number of trainings during which something else disturbed the machine; they count too."""
    metrics: dict[str, Noise] = {}


class Calibration(CalibrationModel):
    """The noise of one machine."""

    schema_version: Literal[1] = SCHEMA_VERSION
    created: Moment
    hardware: Hardware
    software: Software = Software()
    cases: dict[str, CaseNoise] = {}

    def noise(self, case_id: str, metric: str, *, shortened: bool = False) -> float | None:
        """Return `Noise.sd`; None if it was not measured.

        A shortened training is noisier than a full one, so one has no noise for the other.
        """
        case = self.cases.get(case_id)
        if case is None or case.shortened != shortened or metric not in case.metrics:
            return None
        return case.metrics[metric].sd

    def widen(self, rule: MetricRule, case_id: str, metric: str, *, shortened: bool) -> MetricRule:
        """Widen a rule to this machine's noise."""
        if metric not in JUDGED or not JUDGED[metric].by_ratio:
            return rule  # the margin of an accuracy is the acceptable loss, whatever the noise
        return rule.widened(self.noise(case_id, metric, shortened=shortened))

    def describe(self) -> str:
        """Return its date and machine, as in `2026-01-02 on AMD EPYC 9654, 16 cores`."""
        return f"{self.created:%Y-%m-%d} on {describe_machine(self.hardware)}"


def load_calibration(path: Path) -> Calibration:
    """Read and check a calibration.

    Raises:
        UsageError: the file cannot be read, or is not a calibration.
    """
    content = load_json(path, EXPECTED, REMEDY)
    if not isinstance(content, dict) or "cases" not in content or "hardware" not in content:
        raise UsageError(f"{name_of(path)} is not a calibration: expected {EXPECTED}; {REMEDY}")
    version = content.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise UsageError(
            f"{name_of(path)} has schema version {version}, this cnnperf reads up to "
            f"{SCHEMA_VERSION}: update cnnperf"
        )
    try:
        return Calibration.model_validate(content)
    except ValidationError as error:
        problem = describe_validation_error(error)
        raise UsageError(f"{name_of(path)}: {problem}; expected {EXPECTED}") from error


def load_calibration_of(path: Path, hardware: Hardware, whose: str) -> Calibration:
    """Read a calibration that a user named for a machine.

    Args:
        path: the file.
        hardware: the machine's hardware.
        whose: the machine's name in the message, as in `this one`.

    Raises:
        UsageError: as in `load_calibration`, or it is of another machine.
    """
    calibration = load_calibration(path)
    if identity(calibration.hardware) != identity(hardware):
        raise UsageError(
            f"{name_of(path)} is of another machine than {whose} "
            f"({hardware_difference(calibration.hardware, hardware)}): name a calibration of the "
            "same machine, or omit --calibration"
        )
    return calibration


def find_calibration(folder: Path, hardware: Hardware) -> Calibration | None:
    """Return the newest calibration in a folder for this hardware, if there is one.

    Raises:
        UsageError: a calibration in the folder cannot be read. Skipping it could silently change
            verdicts.
    """
    wanted = identity(hardware)
    if not any(wanted) or not os.access(folder, os.R_OK | os.X_OK) or not folder.is_dir():
        return None  # hardware without any known fact matches no calibration
    files = sorted(path for path in folder.iterdir() if path.name.endswith(SUFFIX))
    found = [load_calibration(path) for path in files]
    return max(
        (each for each in found if identity(each.hardware) == wanted),
        key=lambda calibration: calibration.created,
        default=None,
    )


def calibration_of(record: Path, hardware: Hardware) -> Calibration | None:
    """Return the calibration of this hardware beside a record, or else one folder above.

    Raises:
        UsageError: as in `find_calibration`.
    """
    folder = record.absolute().parent
    return find_calibration(folder, hardware) or find_calibration(folder.parent, hardware)


def detectable(sd: float, repeats: int = REPEATS, confidence: float = 0.95) -> float:
    """Return how far beyond a threshold a true change must lie to be found with `POWER`.

    A change is found if the interval of the t test lies wholly beyond the threshold, so the
    noncentral t distribution gives the answer.

    Args:
        sd: standard deviation of one training, the same on both sides; the result has its scale.
        repeats: per side, at least 2.
        confidence: of the two-sided interval.
    """
    from scipy import special  # slow to import, and only `cnnperf calibrate` needs it

    freedom = 2 * (repeats - 1)
    critical = special.stdtrit(freedom, (1 + confidence) / 2)
    noncentrality = special.nctdtrinc(freedom, 1 - POWER, critical)
    return float(noncentrality * sd * math.sqrt(2 / repeats))
