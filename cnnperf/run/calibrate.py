"""Measure the noise of a machine: how much its results vary when nothing has changed.

    cnnperf calibrate -k digits --repeats 10

One interpreter is trained against itself (A/A), in turns as with `cnnperf ab`, each time with
another seed. Every difference is noise, and a smaller threshold would report false regressions.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from cnnperf.compare.calibration import (
    SUFFIX,
    Calibration,
    CaseNoise,
    Noise,
    calibration_of,
    detectable,
    find_calibration,
    load_calibration,
)
from cnnperf.compare.comparability import FORBIDDING, fingerprint_difference
from cnnperf.compare.rules import Rules
from cnnperf.compare.thresholds import JUDGED, MetricRule, Thresholds, judged_as
from cnnperf.compare.verdicts import Comparison
from cnnperf.errors import UsageError, printable
from cnnperf.machine.flags import DISTURBANCES
from cnnperf.machine.names import describe_machine, hardware_difference, identity
from cnnperf.record.environment import Hardware
from cnnperf.record.metrics import ABSENT
from cnnperf.record.schema import CaseRecord, Record
from cnnperf.record.writing import write_file
from cnnperf.run.ab import judge_pair
from cnnperf.run.interleave import Interleaved

MIN_TRAININGS = 3
"""Fewest trainings of a case from which a standard deviation is computed."""

MAX_NAMED = 5
"""Most dropped cases that a sentence names."""

FALSE_ALARMS = frozenset({"faster", "slower", "better", "worse"})
"""Verdicts that are wrong for one interpreter against itself."""


def run_calibration(pair: Interleaved, rules: Rules, repeats: int) -> Comparison | None:
    """Train each case so often on each side, and judge one side against the other.

    The pair is opened but not trained; the caller closes it. Returns None if the time was up;
    another call can continue.
    """
    pair.train_to(repeats, pair.case_ids)
    if pair.limit.reached:
        return None
    pair.finish()
    return judge_pair(pair, rules)


def measure_noise(
    named: Sequence[tuple[str, Record]], thresholds: Thresholds | None = None
) -> Calibration:
    """Return the noise in named records of one machine and one software.

    All trainings of a case count the same, whichever record they are in: differences between
    records are noise too. The smallest change depends on the thresholds; None is the defaults.

    Raises:
        UsageError: the records differ in machine, software or cases, or no case has enough
            repeats.
    """
    _check_same(named)
    cases: dict[str, list[CaseRecord]] = {}
    for _, record in named:
        for case in record.cases:
            cases.setdefault(case.id, []).append(case)
    noise = {
        case_id: _case_noise(each, thresholds or Thresholds()) for case_id, each in cases.items()
    }
    found = {case_id: each for case_id, each in noise.items() if each.metrics}
    if not found:
        raise UsageError(
            f"{', '.join(name for name, _ in named)}: no case has {MIN_TRAININGS} finished "
            "trainings, the fewest that show noise: calibrate with more --repeats"
        )
    environment = named[0][1].environment
    return Calibration(
        created=max(record.created for _, record in named),
        hardware=environment.hardware,
        software=environment.software,
        cases=found,
    )


def _check_same(named: Sequence[tuple[str, Record]]) -> None:
    for (one, first), (other, second) in combinations(named, 2):
        if first == second:
            raise UsageError(f"{one} and {other} are the same record: it would count twice")
        what = _difference(first, second)
        if what is not None:
            raise UsageError(
                f"{one} and {other} differ in {what}, so their differences are not only noise: "
                "use records of one machine and one software"
            )


def _difference(first: Record, second: Record) -> str | None:
    one, other = first.environment, second.environment
    if identity(one.hardware) != identity(other.hardware):
        return f"hardware ({hardware_difference(one.hardware, other.hardware)})"
    for field, value in one.software:
        if value != getattr(other.software, field):
            return f"software.{field} ({value} and {getattr(other.software, field)})"
    cases = {case.id: case for case in second.cases}
    for case in first.cases:
        match = cases.get(case.id)
        if match is None or case.fingerprint is None or match.fingerprint is None:
            continue
        why = fingerprint_difference(case.fingerprint, match.fingerprint)
        if why is not None:
            return f"{case.id}: {why}"
    return None


def _case_noise(records: Sequence[CaseRecord], thresholds: Thresholds) -> CaseNoise:
    shortened = any(case.shortened for case in records)
    metrics = {}
    own = [each.name for each in records[0].quality if each.name not in JUDGED]
    for metric in [*JUDGED, *own]:
        values = [value for case in records for value in case.values(metric)]
        quality = records[0].declared(metric)
        judged = judged_as(metric, quality)
        if shortened and judged.of_training:
            continue  # `compare` does not judge it either
        rule = thresholds.rule(records[0].id, metric, quality)
        noise = _noise(values, rule, by_ratio=judged.by_ratio)
        if noise is not None:
            metrics[metric] = noise
    flagged = sum(
        any(flag.kind in DISTURBANCES for flag in repeat.warnings)
        for case in records
        for repeat in case.repeats
    )
    return CaseNoise(shortened=shortened, flagged=flagged, metrics=metrics)


def _noise(values: Sequence[float], rule: MetricRule, *, by_ratio: bool) -> Noise | None:
    """Return the noise; None if there are too few values, or one has no logarithm."""
    if len(values) < MIN_TRAININGS or (by_ratio and min(values) <= 0):
        return None
    sd = statistics.stdev(map(math.log, values) if by_ratio else values)
    beyond = detectable(sd)
    if by_ratio:
        smallest = math.expm1(math.log1p(rule.widened(sd).threshold) + beyond)
    else:
        smallest = rule.threshold + beyond
    return Noise(n=len(values), mean=statistics.fmean(values), sd=sd, smallest_change=smallest)


def false_alarms(comparison: Comparison) -> list[str]:
    """Return each change that an A/A comparison found, as one clause."""
    return [
        printable(f"{case.id}: {metric} {verdict.verdict}")
        for case in comparison.cases
        for metric, verdict in case.metrics.items()
        if verdict.verdict in FALSE_ALARMS
    ]


def default_path(hardware: Hardware) -> Path:
    """Return the file for the calibration of a machine: in a folder that `compare` searches."""
    folder = Path("reports") if Path("reports").is_dir() else Path(".cnnperf")
    return folder / f"{machine_slug(hardware)}{SUFFIX}"


def calibration_here(record: Path, hardware: Hardware) -> Calibration | None:
    """Find this machine's noise in the project's folders, else next to a record or one folder up.

    Raises:
        UsageError: a calibration there cannot be read.
    """
    for folder in (Path("reports"), Path(".cnnperf"), Path()):
        found = find_calibration(folder, hardware)
        if found is not None:
            return found
    return calibration_of(record, hardware)


def machine_slug(hardware: Hardware) -> str:
    """Return a machine's name as a file name.

    >>> machine_slug(Hardware(cpu_model="AMD EPYC 9654 96-Core Processor", cpu_logical_cores=16))
    'amd-epyc-9654-96-core-processor-16-cores'
    """
    words = re.findall(r"[a-z0-9]+", describe_machine(hardware).lower())
    return "-".join(words)[:120]


class Written(NamedTuple):
    """The content of a calibration file after an update."""

    calibration: Calibration
    measured: int
    """Number of cases that were calibrated now."""
    dropped: tuple[str, ...] = ()
    """Cases of the old file that were measured in another environment."""
    difference: str | None = None
    """That environment."""

    def describe(self, path: Path) -> str:
        """Return one line for the user."""
        count = len(self.calibration.cases) - self.measured
        also = f" (and of {count} calibrated before)" if count else ""
        text = f"{path}: noise of {self.measured} case{'s' * (self.measured != 1)}{also}"
        if not self.dropped:
            return text
        named = ", ".join(map(printable, self.dropped[:MAX_NAMED]))
        more = len(self.dropped) - MAX_NAMED
        named += f" and {more} more" if more > 0 else ""
        return (
            f"{text}; dropped, because calibrated with {self.difference}: {named}. Calibrate again"
        )


def write_calibration(calibration: Calibration, path: Path) -> Written:
    """Write a calibration, and keep other cases of the file if its environment is the same.

    Raises:
        UsageError: the file exists and is no calibration, or cannot be written.
    """
    written = Written(calibration, len(calibration.cases))
    if path.exists():
        written = _with_older_cases(calibration, load_calibration(path))
    write_file(path, written.calibration.model_dump_json(indent=2) + "\n")
    return written


def _with_older_cases(new: Calibration, old: Calibration) -> Written:
    """Keep older cases unless something that changes times by itself differs."""
    difference = _outdated(new, old)
    if difference is None:
        merged = new.model_copy(update={"cases": {**old.cases, **new.cases}})
        return Written(merged, len(new.cases))
    dropped = tuple(case_id for case_id in old.cases if case_id not in new.cases)
    return Written(new, len(new.cases), dropped, difference)


def _outdated(new: Calibration, old: Calibration) -> str | None:
    if identity(new.hardware) != identity(old.hardware):
        return f"another machine ({hardware_difference(old.hardware, new.hardware)})"
    for field, kind in FORBIDDING.items():
        name = field.removeprefix("software.")
        if kind == "software" and getattr(new.software, name) != getattr(old.software, name):
            before, now = (getattr(each.software, name) or ABSENT for each in (old, new))
            return printable(f"{name} {before}, not {now}")
    return None
