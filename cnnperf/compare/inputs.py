"""The inputs of a comparison: a side is one record, or several pooled as more repeats."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cnnperf.compare.comparability import fingerprint_difference, some
from cnnperf.errors import UsageError
from cnnperf.record.environment import Environment
from cnnperf.record.loading import load_record
from cnnperf.record.schema import CaseRecord, Outcome, Record

GRAVITY: tuple[Outcome, ...] = ("failed", "passed", "skipped")
"""Outcomes of a case in several files, the one that counts first."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """One side of a comparison."""

    files: tuple[str, ...]
    records: tuple[Record, ...]
    cases: dict[str, CaseRecord]
    """Cases by id, in the order of the files."""
    is_fleet: bool = False
    """Whether each training stands for a device, whose number takes the place of the seed."""

    @property
    def environments(self) -> list[Environment]:
        """The environment of each record."""
        return [record.environment for record in self.records]

    @classmethod
    def of(cls, record: Record, name: str) -> Side:
        """Return a side of one record."""
        return cls.pool([(name, record)])

    @classmethod
    def pool(cls, named: Sequence[tuple[str, Record]], *, is_fleet: bool = False) -> Side:
        """Return a side of several records, with the repeats of each case put together.

        Raises:
            UsageError: the fingerprints of a case differ between files.
        """
        cases: dict[str, CaseRecord] = {}
        origin: dict[str, str] = {}
        for name, record in named:
            for case in record.cases:
                if case.id in cases:
                    _check_agreement(cases[case.id], case, origin[case.id], name)
                    case = _merge(cases[case.id], case)
                cases[case.id] = case
                origin[case.id] = name
        return cls(
            files=tuple(name for name, _ in named),
            records=tuple(record for _, record in named),
            cases=cases,
            is_fleet=is_fleet,
        )


def load_side(paths: Iterable[Path], *, lean: bool = False) -> Side:
    """Read the files of one side; `lean` keeps only what a verdict needs.

    A folder is a fleet: each device is one training, the mean of its own.

    Raises:
        UsageError: one cannot be read, two are the same, or they do not fit together.
    """
    named: list[tuple[str, Record]] = []
    paths = list(paths)
    for path in paths:
        if path.is_dir():  # a fleet: each device counts once
            from cnnperf.compare.fleet.pooling import devices_as_trainings

            named += [(f"{path}/{name}", record) for name, record in devices_as_trainings(path)]
            continue
        record = load_record(path, lean=lean)
        for name, other in named:
            if record == other:
                raise UsageError(
                    f"{name} and {path} are the same record, which would count twice: name it once"
                )
        named.append((str(path), record))
    return Side.pool(named, is_fleet=all(path.is_dir() for path in paths))


def _check_agreement(first: CaseRecord, second: CaseRecord, one: str, other: str) -> None:
    if first.fingerprint is None or second.fingerprint is None:
        return
    if (why := fingerprint_difference(first.fingerprint, second.fingerprint)) is not None:
        raise UsageError(
            f"{one} and {other} cannot be pooled: {first.id} differs between them: {why}"
        )


def _merge(first: CaseRecord, second: CaseRecord) -> CaseRecord:
    gravest = min((first, second), key=lambda case: GRAVITY.index(case.outcome))
    return first.model_copy(
        update={
            "repeats": [*first.repeats, *second.repeats],
            "fingerprint": first.fingerprint or second.fingerprint,
            "shortened": first.shortened or second.shortened,
            "outcome": gravest.outcome,
            "error": gravest.error,
        }
    )


def select(sides: tuple[Side, Side], expression: str | None) -> tuple[Side, Side]:
    """Return both sides with the cases whose id matches an expression, as with pytest's -k.

    Raises:
        UsageError: the expression is invalid, or matches no case of either side.
    """
    if not expression:
        return sides
    base, new = (_matching(side, expression) for side in sides)
    if not base.cases and not new.cases:
        ids = dict.fromkeys(case_id for side in sides for case_id in side.cases)
        raise UsageError(f"-k {expression!r} matches no case; possible: {some(list(ids))}")
    return base, new


def _matching(side: Side, expression: str) -> Side:
    from cnnperf.catalog.registry import matches

    kept = {case_id: case for case_id, case in side.cases.items() if matches(expression, case_id)}
    return replace(side, cases=kept)
