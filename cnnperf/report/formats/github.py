"""Write a comparison as GitHub workflow annotations.

    cnnperf compare base.json new.json --format github

GitHub shows 10 annotations of a kind from one step and drops the others silently. So the most
severe come first, and the tenth lists the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from cnnperf.compare.verdicts import IMPROVEMENTS, REGRESSIONS, Comparison, EnvironmentChange
from cnnperf.errors import printable
from cnnperf.report.wording.comparison import Row, rows, where_they_part

MAX_SHOWN = 10
"""Annotations of a kind that GitHub shows from one step."""

MAX_CHANGES, MAX_NAMED = 8, 20
"""Environment changes in one annotation; titles in the last annotation of a kind."""

Kind = Literal["error", "warning", "notice"]
KINDS: tuple[Kind, ...] = ("error", "warning", "notice")


class Annotation(NamedTuple):
    """The content of one line."""

    title: str
    message: str


def to_github(comparison: Comparison) -> str:
    """Return one workflow command per line, errors first.

    Regressions are errors. Gating verdicts that may hide one (inconclusive, not comparable) are
    warnings. The summary, environment changes, improvements and what got worse without gating are
    notices.
    """
    found: dict[Kind, list[Annotation]] = {kind: [] for kind in KINDS}
    found["notice"].append(Annotation("cnnperf compare", comparison.summary))
    found["notice"] += _environment(comparison.environment_changes)
    for row in rows(comparison.cases):
        kind = _kind(row)
        if kind is not None:
            title = f"{row.verdict}: {row.subject} of {row.case.id}"
            found[kind].append(Annotation(title, row.details(comparison.sides) or row.verdict))
    return "".join(
        _command(kind, annotation) for kind in KINDS for annotation in _at_most_shown(found[kind])
    )


def _environment(changes: Sequence[EnvironmentChange]) -> list[Annotation]:
    """Return one annotation for all changes, since only ten are shown."""
    if not changes:
        return []
    named = [
        f"{change.field} {' -> '.join(where_they_part(change.base, change.new))}"
        for change in changes[:MAX_CHANGES]
    ]
    if len(changes) > MAX_CHANGES:
        named.append(f"and {len(changes) - MAX_CHANGES} more")
    return [Annotation("environment changes", "; ".join(named))]


def _kind(row: Row) -> Kind | None:
    if row.is_regression:
        return "error"
    if row.verdict in ("inconclusive", "not comparable"):
        ruled_out = row.metric is not None and row.metric.rules_out_regression
        return "warning" if row.gates and not ruled_out else None
    return "notice" if row.verdict in REGRESSIONS | IMPROVEMENTS else None


def _at_most_shown(found: Sequence[Annotation]) -> Sequence[Annotation]:
    if len(found) <= MAX_SHOWN:
        return found
    rest = found[MAX_SHOWN - 1 :]
    named = [annotation.title for annotation in rest[:MAX_NAMED]]
    if len(rest) > MAX_NAMED:
        named.append(f"and {len(rest) - MAX_NAMED} more")
    return [*found[: MAX_SHOWN - 1], Annotation(f"{len(rest)} more", "; ".join(named))]


def _command(kind: Kind, annotation: Annotation) -> str:
    title, message = (
        printable(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
        for text in annotation
    )
    return f"::{kind} title={title.replace(':', '%3A').replace(',', '%2C')}::{message}\n"
