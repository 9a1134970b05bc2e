"""A comparison as GitHub workflow annotations: lines that the runner reads from a step's output.

    cnnperf compare base.json new.json --format github

GitHub shows 10 annotations of a kind from one step and drops the others without a word, so the
gravest come first and the tenth says what else there is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from cnnperf.compare.verdicts import IMPROVEMENTS, REGRESSIONS, Comparison, EnvironmentChange
from cnnperf.errors import printable
from cnnperf.report.wording.comparison import Row, effect, medians, rows, where_they_part
from cnnperf.report.wording.notes import of_row

MAX_SHOWN = 10
"""Of each kind, from one step."""

MAX_CHANGES = 8
"""Differences between the environments that one annotation names."""

MAX_NAMED = 20
"""Of the others, in the last annotation of a kind."""

Kind = Literal["error", "warning", "notice"]
KINDS: tuple[Kind, ...] = ("error", "warning", "notice")


class Annotation(NamedTuple):
    """What one line says."""

    title: str
    message: str


def to_github(comparison: Comparison) -> str:
    """One workflow command a line, errors first.

    Regressions are errors; what gates and may hide one (inconclusive, not comparable) is a warning;
    the summary, what differs between the environments, improvements and what got worse without
    gating are notices.
    """
    found: dict[Kind, list[Annotation]] = {kind: [] for kind in KINDS}
    found["notice"].append(Annotation("cnnperf compare", comparison.summary))
    found["notice"] += _environment(comparison.environment_changes)
    for row in rows(comparison.cases):
        kind = _kind(row)
        if kind is not None:
            found[kind].append(_annotation(row, comparison.sides))
    return "".join(
        _command(kind, annotation) for kind in KINDS for annotation in _at_most_shown(found[kind])
    )


def _environment(changes: Sequence[EnvironmentChange]) -> list[Annotation]:
    """One annotation, since there are ten in all; what forbids to compare comes first."""
    if not changes:
        return []
    named = [
        f"{change.field} {' -> '.join(where_they_part(change.base, change.new))}"
        for change in changes[:MAX_CHANGES]
    ]
    if len(changes) > MAX_CHANGES:
        named.append(f"and {len(changes) - MAX_CHANGES} more")
    return [Annotation("what differs between the environments", "; ".join(named))]


def _kind(row: Row) -> Kind | None:
    """How a line is announced; None where it is not."""
    if row.is_regression:
        return "error"
    if row.verdict in ("inconclusive", "not comparable"):
        ruled_out = row.metric is not None and row.metric.rules_out_regression
        return "warning" if row.gates and not ruled_out else None
    return "notice" if row.verdict in REGRESSIONS | IMPROVEMENTS else None


def _annotation(row: Row, sides: tuple[str, str]) -> Annotation:
    parts = [row.explanation]
    if row.name is not None and row.metric is not None:
        base, new = medians(row.name, row.metric)
        parts = [f"{sides[0]} {base}, {sides[1]} {new}", effect(row.metric), row.explanation]
        parts += of_row(row, sides)
    message = "; ".join(filter(None, parts)) or row.verdict
    return Annotation(f"{row.verdict}: {row.subject} of {row.case.id}", message)


def _at_most_shown(found: Sequence[Annotation]) -> Sequence[Annotation]:
    if len(found) <= MAX_SHOWN:
        return found
    rest = found[MAX_SHOWN - 1 :]
    named = [annotation.title for annotation in rest[:MAX_NAMED]]
    if len(rest) > MAX_NAMED:
        named.append(f"and {len(rest) - MAX_NAMED} more")
    return [*found[: MAX_SHOWN - 1], Annotation(f"{len(rest)} more", "; ".join(named))]


def _command(kind: Kind, annotation: Annotation) -> str:
    title, message = printable(annotation.title), printable(annotation.message)
    return f"::{kind} title={_in_property(title)}::{_in_message(message)}\n"


def _in_message(text: str) -> str:
    """As the runner decodes it: a percent sign opens an escape."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _in_property(text: str) -> str:
    return _in_message(text).replace(":", "%3A").replace(",", "%2C")
