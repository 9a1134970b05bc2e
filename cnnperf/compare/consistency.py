"""The check that all repeats of a case trained the same thing in the same way.

A case's fingerprint is that of its first repeat. Each repeat chooses `auto` precision by itself,
files are pooled, and records may be edited. A mean over two kinds of training describes neither.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from cnnperf.record.metrics import ABSENT
from cnnperf.record.schema import CaseRecord, Fingerprint, Repeat

SHORT_HASH = 12
MAX_NAMED = 5
"""Most seeds that a sentence names."""

RETRAIN = "train all repeats of the case again, with one cnnperf and the same data"


class Fact(NamedTuple):
    """A property that must be equal in all repeats of a case."""

    name: str
    of: Callable[[Repeat], str]
    promised: Callable[[Fingerprint], str] | None
    """Reads the same property of the fingerprint; None if the fingerprint lacks it."""
    remedy: str
    """What to do; `{}` stands for the prefix of options."""


def _short(digest: str | None) -> str:
    return digest[:SHORT_HASH] if digest else ABSENT


def _determinism(repeat: Repeat) -> str:
    settings = repeat.settings
    return "on" if settings is not None and settings.deterministic_algorithms else "off"


FACTS = (
    Fact(
        "precision", lambda repeat: repeat.precision, lambda fingerprint: fingerprint.precision,
        "each repeat chooses `auto` by itself: use {}precision=float32 or bfloat16",
    ),
    Fact(
        "model", lambda repeat: _short(repeat.model_sha256),
        lambda fingerprint: _short(fingerprint.model_sha256), RETRAIN,
    ),
    Fact(
        "data", lambda repeat: _short(repeat.dataset_sha256),
        lambda fingerprint: _short(fingerprint.dataset_sha256), RETRAIN,
    ),
    Fact(
        "deterministic algorithms", _determinism, None,
        "train all of them with {}deterministic, or none",
    ),
)  # fmt: skip


def inconsistency(case: CaseRecord, side: str, prefix: str) -> str | None:
    """Return why the repeats of a case are not of one kind, as a clause; None if they are.

    Args:
        case: the case on one side.
        side: name of the side.
        prefix: prefix of the options of a training.
    """
    if not case.repeats:
        return None
    if case.fingerprint is None:
        return f"{side} has no fingerprint, so what it trained is unknown: {RETRAIN}"
    return next(filter(None, (_difference(case, side, fact, prefix) for fact in FACTS)), None)


def _difference(case: CaseRecord, side: str, fact: Fact, prefix: str) -> str | None:
    seeds: dict[str, list[int]] = {}
    for repeat in case.repeats:
        seeds.setdefault(fact.of(repeat), []).append(repeat.seed)
    if len(seeds) > 1:
        kinds = " and ".join(f"{kind} ({_named(seeds[kind])})" for kind in sorted(seeds))
        remedy = fact.remedy.format(prefix)
        return f"the repeats of {side} differ in {fact.name}, {kinds}: {remedy}"
    assert case.fingerprint is not None
    promised = None if fact.promised is None else fact.promised(case.fingerprint)
    if promised is not None and promised not in seeds:
        found = next(iter(seeds))
        return (
            f"{side}'s fingerprint has {fact.name} {promised}, its repeats have {found}: {RETRAIN}"
        )
    return None


def _named(seeds: Sequence[int]) -> str:
    shown = ", ".join(map(str, seeds[:MAX_NAMED]))
    more = f" and {len(seeds) - MAX_NAMED} more" if len(seeds) > MAX_NAMED else ""
    return f"seed{'s' if len(seeds) > 1 else ''} {shown}{more}"
