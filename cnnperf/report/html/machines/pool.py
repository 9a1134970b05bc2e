"""Records pooled by machine; whatever cannot be compared is left out with a sentence on why.

fleet = pool([("h100.json", first), ("h200.json", second)])
fleet.base.label, fleet.left_out
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cnnperf.compare.comparability import fingerprint_difference
from cnnperf.compare.stats import CONFIDENCE, Interval, Shift
from cnnperf.compare.thresholds import JUDGED
from cnnperf.compare.verdicts import Across
from cnnperf.errors import UsageError, printable
from cnnperf.machine.flags import DISTURBANCES
from cnnperf.machine.names import Machine, labels, machine_of
from cnnperf.record.environment import Environment
from cnnperf.record.metrics import METRICS
from cnnperf.record.schema import CaseRecord, Record, Repeat

ACROSS: frozenset[Across] = frozenset({"hardware", "software"})
"""What may differ between machines, since it is the question."""

Named = Sequence[tuple[str, Record]]


@dataclass(frozen=True, kw_only=True)
class Member:
    """One machine."""

    label: str
    """The shortest text that tells it from the others; printable."""
    files: tuple[str, ...]
    environment: Environment
    """From its first record."""
    cases: dict[str, CaseRecord] = field(default_factory=dict)
    """By id, with the repeats of all its records that can be compared."""


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """All machines, and the one that the others are compared with."""

    members: tuple[Member, ...]
    base: Member
    left_out: tuple[str, ...]
    """A sentence for everything that was read and cannot be compared."""

    @property
    def case_ids(self) -> list[str]:
        """Cases of at least one machine, in the order of the records."""
        return list(dict.fromkeys(case for each in self.members for case in each.cases))


def disturbed_count(case: CaseRecord) -> int:
    """Count repeats during which something else disturbed the machine."""
    kinds = ({flag.kind for flag in repeat.warnings} for repeat in case.repeats)
    return sum(not DISTURBANCES.isdisjoint(each) for each in kinds)


def repeats_with(case: CaseRecord, metric: str) -> list[Repeat]:
    """Return the repeats whose value of the metric has a logarithm."""
    return [each for each in case.repeats if (getattr(each.metrics, metric) or 0) > 0]


def values_by_seed(case: CaseRecord, metric: str) -> list[float]:
    """Return the metric's values; one for each seed where the seed decides them.

    Pooled records often share seeds; such a value counted twice would look like certainty.
    """
    by_seed: dict[int, list[float]] = {}
    for number, repeat in enumerate(repeats_with(case, metric)):
        key = repeat.seed if metric in JUDGED and JUDGED[metric].seed_decides else number
        by_seed.setdefault(key, []).append(float(getattr(repeat.metrics, metric)))
    return [statistics.geometric_mean(values) for values in by_seed.values()]


def pool(named: Named, base: str | None = None) -> Fleet:
    """Pool the records of each machine and software.

    Args:
        named: records with the names of their files; the first is the base's by default.
        base: a machine's name, a part that only one name has, or a file.

    Raises:
        UsageError: there is no record, or no such base.
    """
    if not named:
        raise UsageError("there is no record to compare: name two files or more")
    left_out: list[str] = []
    groups = _by_machine(named, left_out)
    names = labels(groups)
    members = [
        Member(
            label=names[machine],
            files=tuple(name for name, _ in records),
            environment=records[0][1].environment,
            cases=dict(_pooled_cases(names[machine], records, left_out)),
        )
        for machine, records in groups.items()
    ]
    chosen = members[0] if base is None else _chosen(base, members)
    _keep_comparable(chosen, members, left_out)
    return Fleet(members=tuple(members), base=chosen, left_out=tuple(left_out))


def _by_machine(named: Named, left_out: list[str]) -> dict[Machine, list[tuple[str, Record]]]:
    groups: dict[Machine, list[tuple[str, Record]]] = {}
    for number, (name, record) in enumerate(named):
        twin = next((other for other, known in named[:number] if known == record), None)
        if twin is None:
            machine = machine_of(record.environment, with_software=True)
            groups.setdefault(machine, []).append((name, record))
        else:
            left_out.append(
                f"{printable(name)} is the same record as {printable(twin)} and counts once"
            )
    return groups


def _pooled_cases(
    label: str, records: Named, left_out: list[str]
) -> Iterator[tuple[str, CaseRecord]]:
    """Pool each case's repeats; complete trainings take precedence over shortened ones."""
    found: dict[str, list[tuple[str, CaseRecord]]] = {}
    for name, record in records:
        for case in record.cases:
            place = f"{printable(case.id)} of {printable(name)} on {label}"
            if case.outcome == "passed" and case.repeats:
                found.setdefault(case.id, []).append((place, case))
            else:
                error = printable(case.error.message) if case.error else "no training finished"
                left_out.append(f"{place}: {case.outcome}: {error}")
    for case_id, several in found.items():
        several.sort(key=lambda pair: pair[1].shortened)
        first = several[0][1]
        repeats: list[Repeat] = []
        for place, case in several:
            if why := _difference(first, case, frozenset()):
                left_out.append(f"{place}: {why}")
            else:
                repeats += case.repeats
        yield case_id, first.model_copy(update={"repeats": repeats})


def _keep_comparable(base: Member, members: Sequence[Member], left_out: list[str]) -> None:
    """Remove cases that differ from the base's, or from the first machine's that has the case."""
    ordered = [base, *(member for member in members if member is not base)]
    for case_id in dict.fromkeys(case for each in ordered for case in each.cases):
        first, *others = (member for member in ordered if case_id in member.cases)
        for member in others:
            if why := _difference(first.cases[case_id], member.cases[case_id], ACROSS):
                del member.cases[case_id]
                left_out.append(
                    f"{printable(case_id)} on {member.label}: not comparable with "
                    f"{first.label}: {why}"
                )


def _difference(first: CaseRecord, other: CaseRecord, across: frozenset[Across]) -> str | None:
    if (
        first.fingerprint
        and other.fingerprint
        and (why := fingerprint_difference(first.fingerprint, other.fingerprint, across))
    ):
        return printable(why)
    if first.shortened != other.shortened:
        return "one was shortened, the other was not"
    steps, first_steps = (max(repeat.steps for repeat in case.repeats) for case in (other, first))
    if first.shortened and steps != first_steps:
        return f"shortened to {steps} steps, the other to {first_steps}"
    if first.is_deterministic != other.is_deterministic:
        return "one was trained with --cnnperf-deterministic, which is slower, the other without"
    return None


def _chosen(base: str, members: Sequence[Member]) -> Member:
    for member in members:
        files = [each for name in member.files for each in (name, Path(name).name)]
        if base in files or base.lower() == member.label.lower():
            return member
    near = [member for member in members if base.lower() in member.label.lower()]
    if len(near) == 1:
        return near[0]
    known = ", ".join(member.label for member in near or members)
    problem = "fits several machines" if near else "is no machine and no file of these"
    raise UsageError(f"--over {base!r} {problem}: expected one of {known}, or a RUN's file")


LARGEST_EXPONENT = 700.0
"""Of a number that a float can hold."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A value with its 95 % interval; a single training has no interval."""

    n: int
    """Trainings; seeds where the seed decides the value; of a ratio the smaller side's."""
    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Result:
    """One metric of one case on one machine."""

    member: Member
    mean: Estimate
    """Geometric mean over the repeats."""
    gain: Estimate | None
    """How many times better than the base: of times and energy, base over this machine. None where
    the base has no value; exactly 1, without interval, for the base itself."""
    disturbed: int
    precision: str | None


def results(fleet: Fleet, case_id: str, metric: str) -> list[Result]:
    """Return a result for each machine that has a meaningful value."""
    base = _values(fleet.base, case_id, metric)
    return [
        Result(
            member=member,
            mean=geometric_mean(values),
            gain=_gain(base, values, metric, is_base=member is fleet.base),
            disturbed=disturbed_count(member.cases[case_id]),
            precision=prints.precision if (prints := member.cases[case_id].fingerprint) else None,
        )
        for member in fleet.members
        if (values := _values(member, case_id, metric))
    ]


def _values(member: Member, case_id: str, metric: str) -> list[float]:
    """Return the machine's values; none where a shortened training says nothing about them."""
    case = member.cases.get(case_id)
    is_of_whole = metric in JUDGED and JUDGED[metric].of_training
    return [] if case is None or (case.shortened and is_of_whole) else values_by_seed(case, metric)


def geometric_mean(values: list[float]) -> Estimate:
    """Return the mean of values above 0, at least one, with Student's interval."""
    logs = [math.log(value) for value in values]
    return _estimate(Shift.paired([0.0] * len(logs), logs).interval(CONFIDENCE), len(values))


def _gain(base: list[float], new: list[float], metric: str, *, is_base: bool) -> Estimate | None:
    """Return the ratio with the interval that `cnnperf compare` would give it."""
    if is_base:
        return Estimate(n=len(new), value=1.0, low=None, high=None)
    if not base:
        return None
    sides = (base, new) if METRICS[metric].better == "higher" else (new, base)
    logs = [[math.log(value) for value in side] for side in sides]
    return _estimate(Shift.independent(*logs).interval(CONFIDENCE), min(len(base), len(new)))


def _estimate(interval: Interval, n: int) -> Estimate:
    value, low, high = (
        math.exp(max(min(end, LARGEST_EXPONENT), -LARGEST_EXPONENT))
        for end in (interval.estimate, interval.low, interval.high)
    )
    is_open = math.isinf(interval.low) or math.isinf(interval.high)
    return Estimate(n=n, value=value, low=None if is_open else low, high=None if is_open else high)
