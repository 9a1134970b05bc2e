"""One side of a comparison: a record, or several pooled as more repeats of the same.

Torch-free.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cnnperf.compare.comparability import fingerprint_difference
from cnnperf.errors import UsageError
from cnnperf.record.environment import Environment
from cnnperf.record.loading import load_record
from cnnperf.record.schema import CaseRecord, Outcome, Record

GRAVITY: tuple[Outcome, ...] = ("failed", "passed", "skipped")
"""Of a case in several files: one failure is one, and one training makes a skip harmless."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """What stands on one side."""

    files: tuple[str, ...]
    records: tuple[Record, ...]
    cases: dict[str, CaseRecord]
    """By id, in the order of the files."""

    @property
    def environments(self) -> list[Environment]:
        """One a record."""
        return [record.environment for record in self.records]

    @classmethod
    def of(cls, record: Record, name: str) -> Side:
        """A side of one record."""
        return cls.pool([(name, record)])

    @classmethod
    def pool(cls, named: Sequence[tuple[str, Record]]) -> Side:
        """A side of several records: the repeats of a case are put together.

        Raises:
            UsageError: the files do not agree on what a case is.
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
        )


def load_side(paths: Iterable[Path]) -> Side:
    """Read the files of one side.

    Raises:
        UsageError: one cannot be read, two are the same, or they do not fit together.
    """
    named: list[tuple[str, Record]] = []
    for path in paths:
        record = load_record(path)
        for name, other in named:
            if record == other:
                raise UsageError(
                    f"{name} and {path} are the same record: pooled, it would count twice"
                )
        named.append((str(path), record))
    return Side.pool(named)


def _check_agreement(first: CaseRecord, second: CaseRecord, one: str, other: str) -> None:
    difference = None
    if first.fingerprint is not None and second.fingerprint is not None:
        difference = fingerprint_difference(first.fingerprint, second.fingerprint)
    if difference is not None:
        raise UsageError(
            f"{one} and {other} cannot be pooled: {first.id} differs between them: {difference}"
        )


def _merge(first: CaseRecord, second: CaseRecord) -> CaseRecord:
    """Two records of a case as one."""
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
