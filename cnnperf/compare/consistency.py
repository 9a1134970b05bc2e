"""Whether all repeats of a case trained the same thing, in the same way.

Torch-free. A case's fingerprint is that of its first repeat. `auto` precision is measured anew in
each, files are pooled, and records are edited: a mean over two kinds of training is of neither.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from cnnperf.record.metrics import ABSENT
from cnnperf.record.schema import CaseRecord, Fingerprint, Repeat

SHORT_HASH = 12
MAX_NAMED = 5
"""Seeds that a sentence names."""

ANEW = "train the case anew, all repeats with one cnnperf and the same data"


class Fact(NamedTuple):
    """Something that must be the same in all repeats of a case."""

    name: str
    of: Callable[[Repeat], str]
    promised: Callable[[Fingerprint], str] | None
    """The same in the case's fingerprint; None where that does not have it."""
    remedy: str
    """With a place for what options begin with."""


def _short(digest: str | None) -> str:
    return digest[:SHORT_HASH] if digest else ABSENT


def _determinism(repeat: Repeat) -> str:
    settings = repeat.settings
    return "on" if settings is not None and settings.deterministic_algorithms else "off"


FACTS = (
    Fact(
        "precision", lambda repeat: repeat.precision, lambda fingerprint: fingerprint.precision,
        "`auto` measures anew in each, so train them with {}precision=float32 or bfloat16",
    ),
    Fact(
        "model", lambda repeat: _short(repeat.model_sha256),
        lambda fingerprint: _short(fingerprint.model_sha256), ANEW,
    ),
    Fact(
        "data", lambda repeat: _short(repeat.dataset_sha256),
        lambda fingerprint: _short(fingerprint.dataset_sha256), ANEW,
    ),
    Fact(
        "deterministic algorithms", _determinism, None,
        "train all of them with {}deterministic, or none",
    ),
)  # fmt: skip


def mixture(case: CaseRecord, side: str, prefix: str) -> str | None:
    """What keeps a case's repeats from being of one kind, as a clause; None where they are.

    Args:
        case: of one side.
        side: its name.
        prefix: what the options of a training begin with.
    """
    if not case.repeats:
        return None
    if case.fingerprint is None:
        return f"{side} has no fingerprint, so nobody knows what it trained: {ANEW}"
    return next(filter(None, (_mixed(case, side, fact, prefix) for fact in FACTS)), None)


def _mixed(case: CaseRecord, side: str, fact: Fact, prefix: str) -> str | None:
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
        return f"{side}'s fingerprint has {fact.name} {promised}, its repeats have {found}: {ANEW}"
    return None


def _named(seeds: Sequence[int]) -> str:
    shown = ", ".join(map(str, seeds[:MAX_NAMED]))
    more = f" and {len(seeds) - MAX_NAMED} more" if len(seeds) > MAX_NAMED else ""
    return f"seed{'s' if len(seeds) > 1 else ''} {shown}{more}"
