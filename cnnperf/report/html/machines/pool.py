"""Records of several machines, put together by machine, and what of them does not fit.

    fleet = pool([("h100.json", first), ("h200.json", second)])
    fleet.base.label, fleet.left_out

Torch-free. Nothing that was trained differently is put beside one another: it is left out, and a
sentence says why.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cnnperf.compare.comparability import fingerprint_difference
from cnnperf.compare.rules import Across
from cnnperf.compare.thresholds import JUDGED
from cnnperf.errors import UsageError, printable
from cnnperf.machine.flags import DISTURBANCES
from cnnperf.machine.names import Machine, labels, machine_of
from cnnperf.record.environment import Environment
from cnnperf.record.schema import CaseRecord, Record, Repeat
from cnnperf.report.html.content import Cell

ACROSS: frozenset[Across] = frozenset({"hardware", "software"})
"""What may differ between machines, since it is the question."""

SAME_MACHINE: frozenset[Across] = frozenset()
"""What may differ between records of one machine that are pooled: nothing."""

Named = Sequence[tuple[str, Record]]


@dataclass(frozen=True, kw_only=True)
class Training:
    """A case on one machine: all of its repeats that may stand beside one another."""

    case: CaseRecord
    """Of the first file that has it: fingerprint and names."""
    repeats: tuple[Repeat, ...]
    files: tuple[str, ...]

    @property
    def is_shortened(self) -> bool:
        """Whether it was trained for less than its recipe says."""
        return self.case.shortened

    @property
    def disturbed(self) -> int:
        """Repeats during which something else disturbed the machine."""
        kinds = ({flag.kind for flag in repeat.warnings} for repeat in self.repeats)
        return sum(not DISTURBANCES.isdisjoint(each) for each in kinds)

    def having(self, metric: str) -> list[Repeat]:
        """The repeats whose value of the metric has a logarithm."""
        return [each for each in self.repeats if (getattr(each.metrics, metric) or 0) > 0]

    def values(self, metric: str) -> list[float]:
        """The metric's values, one a seed where the seed decides them.

        Records that are pooled often have the same seeds: trained again, a seed says little new of
        what it decides itself, and counted twice it would look like certainty.
        """
        by_seed: dict[int, list[float]] = {}
        for number, repeat in enumerate(self.having(metric)):
            key = repeat.seed if metric in JUDGED and JUDGED[metric].seed_decides else number
            by_seed.setdefault(key, []).append(float(getattr(repeat.metrics, metric)))
        return [statistics.geometric_mean(values) for values in by_seed.values()]


@dataclass(frozen=True, kw_only=True)
class Member:
    """One machine."""

    label: str
    """The shortest text that tells it from the others; printable."""
    files: tuple[str, ...]
    environment: Environment
    """Of its first record."""
    trainings: dict[str, Training] = field(default_factory=dict)
    """By the case's id."""


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """All machines, and which one the others are held to."""

    members: tuple[Member, ...]
    base: Member
    left_out: tuple[str, ...]
    """A sentence for all that was read and does not fit."""

    @property
    def case_ids(self) -> list[str]:
        """Cases that at least one machine has, in the order of the records."""
        return list(dict.fromkeys(case for each in self.members for case in each.trainings))


def pool(named: Named, base: str | None = None) -> Fleet:
    """Put records of one machine and software together.

    Args:
        named: the records with the names of their files; the first is the base's unless another
            is named.
        base: a machine's name, a part of only one's, or a file.

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
            trainings=dict(_trainings(names[machine], records, left_out)),
        )
        for machine, records in groups.items()
    ]
    chosen = members[0] if base is None else _chosen(base, members)
    _keep_comparable(chosen, members, left_out)
    return Fleet(members=tuple(members), base=chosen, left_out=tuple(left_out))


def _by_machine(named: Named, left_out: list[str]) -> dict[Machine, list[tuple[str, Record]]]:
    groups: dict[Machine, list[tuple[str, Record]]] = {}
    seen: list[tuple[str, Record]] = []
    for name, record in named:
        twin = next((other for other, known in seen if known == record), None)
        if twin is not None:
            left_out.append(f"{_name(name)} is the same record as {_name(twin)} and counts once")
            continue
        seen.append((name, record))
        machine = machine_of(record.environment, with_software=True)
        groups.setdefault(machine, []).append((name, record))
    return groups


def _trainings(label: str, records: Named, left_out: list[str]) -> Iterator[tuple[str, Training]]:
    """Each case that one of the machine's records has a finished training of."""
    found: dict[str, list[tuple[str, CaseRecord]]] = {}
    for name, record in records:
        for case in record.cases:
            if case.outcome == "passed" and case.repeats:
                found.setdefault(case.id, []).append((name, case))
            else:
                why = printable(case.error.message) if case.error else "no training is finished"
                left_out.append(
                    f"{printable(case.id)} of {_name(name)} on {label}: {case.outcome}: {why}"
                )
    for case_id, several in found.items():
        yield case_id, _merged(label, several, left_out)


def _merged(label: str, several: list[tuple[str, CaseRecord]], left_out: list[str]) -> Training:
    """The repeats of those that agree with the first; one in full goes before a shortened one."""
    ordered = sorted(several, key=lambda pair: pair[1].shortened)
    first = ordered[0][1]
    kept = []
    for name, case in ordered:
        if why := _difference(first, case, pooled=True):
            left_out.append(f"{printable(case.id)} of {_name(name)} on {label}: {why}")
        else:
            kept.append((name, case))
    return Training(
        case=first,
        repeats=tuple(repeat for _, case in kept for repeat in case.repeats),
        files=tuple(name for name, _ in kept),
    )


def _keep_comparable(base: Member, members: Sequence[Member], left_out: list[str]) -> None:
    """Take away what does not fit the base's training of the case, else the first machine's."""
    ordered = [base, *(member for member in members if member is not base)]
    for case_id in dict.fromkeys(case for each in ordered for case in each.trainings):
        having = [member for member in ordered if case_id in member.trainings]
        first = having[0].trainings[case_id].case
        for member in having[1:]:
            if why := _difference(first, member.trainings[case_id].case):
                del member.trainings[case_id]
                left_out.append(
                    f"{printable(case_id)} on {member.label}: not comparable with "
                    f"{having[0].label}: {why}"
                )


def _difference(first: CaseRecord, other: CaseRecord, *, pooled: bool = False) -> str | None:
    """Why two trainings of a case must not stand beside one another; None where they may."""
    if first.fingerprint is not None and other.fingerprint is not None:
        across = SAME_MACHINE if pooled else ACROSS
        why = fingerprint_difference(first.fingerprint, other.fingerprint, across)
        if why is not None:
            return printable(why)
    if first.shortened != other.shortened:
        return "one was shortened, the other was not"
    if first.shortened and _steps(first) != _steps(other):
        return f"shortened to {_steps(other)} steps, the other to {_steps(first)}"
    if _is_deterministic(first) != _is_deterministic(other):
        return "one was trained with --cnnperf-deterministic, which is slower, the other without"
    return None


def _steps(case: CaseRecord) -> int:
    return max(repeat.steps for repeat in case.repeats)


def _is_deterministic(case: CaseRecord) -> bool:
    settings = (repeat.settings for repeat in case.repeats)
    return any(each is not None and bool(each.deterministic_algorithms) for each in settings)


def _chosen(base: str, members: Sequence[Member]) -> Member:
    """The machine of that name, of that file, or with that in its name."""
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


def _name(file: str) -> str:
    return printable(file)


def facts(member: Member) -> tuple[Cell, ...]:
    """What a table says of a machine: GPU, how many, CPU, cores, driver, CUDA, torch, device."""
    hardware, software = member.environment.hardware, member.environment.software
    texts = (
        hardware.gpu.name if hardware.gpu is not None else None,
        hardware.gpu_count,
        hardware.cpu_model,
        hardware.cpu_logical_cores,
        software.driver,
        software.cuda_runtime,
        software.torch,
        member.environment.settings.device,
    )
    return tuple(printable(each) if isinstance(each, str) else each for each in texts)
