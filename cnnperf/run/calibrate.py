"""How much do a machine's figures vary when nothing has changed?

    cnnperf calibrate -k digits --repeats 10

Torch-free. Trains one interpreter against itself (A/A), in turns as `cnnperf ab` does, with another
seed each time. What still differs is noise: a threshold below it would find regressions that are
none.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Iterable, Sequence
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
from cnnperf.compare.thresholds import JUDGED, Thresholds
from cnnperf.compare.verdicts import Comparison
from cnnperf.errors import UsageError, printable
from cnnperf.machine.flags import DISTURBANCES
from cnnperf.machine.names import describe_machine, identity
from cnnperf.record.environment import Hardware
from cnnperf.record.metrics import ABSENT
from cnnperf.record.schema import CaseRecord, Record
from cnnperf.run.ab import judge_pair
from cnnperf.run.interleave import Interleaved

MIN_TRAININGS = 3
"""Of a case in all: a standard deviation of fewer is a guess."""

MAX_NAMED = 5
"""Dropped cases that a sentence names."""

FALSE_ALARMS = frozenset({"faster", "slower", "better", "worse"})
"""Of one interpreter against itself."""


def run_calibration(pair: Interleaved, rules: Rules, repeats: int) -> Comparison | None:
    """Train so many repeats a side, and judge them as if they were different.

    None where the time was up before: another call goes on.

    Args:
        pair: both sides, looked at and not yet trained; the caller closes them.
        rules: as for any comparison.
        repeats: of each case, on each side.
    """
    pair.train_to(repeats, pair.case_ids)
    if pair.limit.reached:
        return None
    pair.finish()
    return judge_pair(pair, rules)


def measure_noise(
    named: Sequence[tuple[str, Record]], thresholds: Thresholds | None = None
) -> Calibration:
    """The noise in records of one machine and one software.

    Every training of a case counts alike, whichever record it is in: what differs between records
    is noise too.

    Args:
        named: records with their names.
        thresholds: what a smallest change is told for; the defaults where None.

    Raises:
        UsageError: the records are not of the same, or no case has enough repeats.
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
            f"{_names(named)}: no case has {MIN_TRAININGS} trainings that did not fail, which is "
            "the least that noise can be told from: calibrate with more --repeats"
        )
    environment = named[0][1].environment
    return Calibration(
        created=max(record.created for _, record in named),
        hardware=environment.hardware,
        software=environment.software,
        cases=found,
    )


def _check_same(named: Sequence[tuple[str, Record]]) -> None:
    """Records of one machine, one software, and cases that are the same in all of them."""
    for (one, first), (other, second) in combinations(named, 2):
        if first == second:
            raise UsageError(f"{one} and {other} are the same record: it would count twice")
        what = _difference(first, second)
        if what is not None:
            raise UsageError(
                f"{one} and {other} differ in {what}: what varies between them would not be "
                "noise; expected records of one machine and one software"
            )


def _difference(first: Record, second: Record) -> str | None:
    one, other = first.environment, second.environment
    if identity(one.hardware) != identity(other.hardware):
        return "hardware"
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
    for metric, how in JUDGED.items():
        values = [value for case in records for value in case.values(metric)]
        if shortened and how.of_training:
            continue  # of a training that nobody compares
        noise = _noise(values, metric, records[0].id, thresholds)
        if noise is not None:
            metrics[metric] = noise
    flagged = sum(
        any(flag.kind in DISTURBANCES for flag in repeat.warnings)
        for case in records
        for repeat in case.repeats
    )
    return CaseNoise(shortened=shortened, flagged=flagged, metrics=metrics)


def _noise(
    values: Sequence[float], metric: str, case_id: str, thresholds: Thresholds
) -> Noise | None:
    """None where there are too few values, or a figure of 0, which has no logarithm."""
    by_ratio = JUDGED[metric].by_ratio
    if len(values) < MIN_TRAININGS or (by_ratio and min(values) <= 0):
        return None
    sd = statistics.stdev(map(math.log, values) if by_ratio else values)
    rule = thresholds.rule(case_id, metric)
    beyond = detectable(sd)
    if by_ratio:
        smallest = math.expm1(math.log1p(rule.widened(sd).threshold) + beyond)
    else:
        smallest = rule.threshold + beyond
    return Noise(n=len(values), mean=statistics.fmean(values), sd=sd, smallest_change=smallest)


def false_alarms(comparison: Comparison) -> list[str]:
    """What an A/A comparison found although nothing has changed, each as one clause."""
    return [
        printable(f"{case.id}: {metric} {verdict.verdict}")
        for case in comparison.cases
        for metric, verdict in case.metrics.items()
        if verdict.verdict in FALSE_ALARMS
    ]


def default_path(hardware: Hardware) -> Path:
    """Where the calibration of such a machine goes: beside the records, where `compare` looks."""
    return default_folder() / f"{machine_slug(hardware)}{SUFFIX}"


def default_folder() -> Path:
    """Where a project keeps its records."""
    return Path("reports") if Path("reports").is_dir() else Path(".cnnperf")


def calibration_here(record: Path, hardware: Hardware) -> Calibration | None:
    """This machine's noise, where a project keeps it, else beside a record or one folder up.

    Raises:
        UsageError: a calibration there cannot be read.
    """
    for folder in (Path("reports"), Path(".cnnperf"), Path()):
        found = find_calibration(folder, hardware)
        if found is not None:
            return found
    return calibration_of(record, hardware)


def machine_slug(hardware: Hardware) -> str:
    """A machine's identity as a file name.

    >>> machine_slug(Hardware(cpu_model="AMD EPYC 9654 96-Core Processor", cpu_logical_cores=16))
    'amd-epyc-9654-96-core-processor-16-cores'
    """
    words = re.findall(r"[a-z0-9]+", describe_machine(hardware).lower())
    return "-".join(words)[:120]


class Written(NamedTuple):
    """What a calibration file has after it was written again."""

    calibration: Calibration
    measured: int
    """Cases that were calibrated now."""
    dropped: tuple[str, ...] = ()
    """Cases that the file had, and that were measured with something else."""
    difference: str | None = None
    """With what."""

    def describe(self, path: Path) -> str:
        """One line for people."""
        count = len(self.calibration.cases) - self.measured
        also = f" (and of {count} calibrated before)" if count else ""
        text = f"{path}: noise of {self.measured} case{_s(self.measured)}{also}"
        if not self.dropped:
            return text
        named = ", ".join(map(printable, self.dropped[:MAX_NAMED]))
        more = len(self.dropped) - MAX_NAMED
        named += f" and {more} more" if more > 0 else ""
        return (
            f"{text}; dropped what was calibrated with {self.difference}: {named}: calibrate "
            f"{'it' if len(self.dropped) == 1 else 'them'} again"
        )


def write_calibration(calibration: Calibration, path: Path) -> Written:
    """Write a calibration; cases that only the file's present one has stay, if all else agrees.

    Raises:
        UsageError: the file is there and is none, or cannot be written.
    """
    written = Written(calibration, len(calibration.cases))
    if path.exists():
        written = _with_older_cases(calibration, load_calibration(path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = path.with_name(path.name + ".part")
        whole.write_text(written.calibration.model_dump_json(indent=2) + "\n", encoding="utf-8")
        whole.replace(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror or error}") from error
    return written


def _with_older_cases(new: Calibration, old: Calibration) -> Written:
    """Another commit or kernel is no reason to forget; what moves times by itself is."""
    difference = _outdated(new, old)
    if difference is None:
        merged = new.model_copy(update={"cases": {**old.cases, **new.cases}})
        return Written(merged, len(new.cases))
    dropped = tuple(case_id for case_id in old.cases if case_id not in new.cases)
    return Written(new, len(new.cases), dropped, difference)


def _outdated(new: Calibration, old: Calibration) -> str | None:
    """In what an older calibration is not of this machine's present state; None where it is."""
    if identity(new.hardware) != identity(old.hardware):
        return f"another machine ({printable(describe_machine(old.hardware))})"
    for field, kind in FORBIDDING.items():
        name = field.removeprefix("software.")
        if kind == "software" and getattr(new.software, name) != getattr(old.software, name):
            before, now = (getattr(each.software, name) or ABSENT for each in (old, new))
            return printable(f"{name} {before}, and not {now}")
    return None


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def _names(named: Iterable[tuple[str, Record]]) -> str:
    return ", ".join(name for name, _ in named)
