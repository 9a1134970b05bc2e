"""Write a comparison for CI servers: as annotations for GitHub, as JUnit XML for nearly all others.

GitHub shows 10 annotations of a kind from one step and drops the others silently. So the most
severe come first, and the tenth lists the rest.

The JUnit file is valid by the schemas of the Jenkins xUnit plugin and of Ant. These allow a test
case no properties, so the figures are properties of the suite.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from cnnperf.compare.verdicts import IMPROVEMENTS, REGRESSIONS, Comparison
from cnnperf.errors import printable
from cnnperf.report.wording.comparison import Row, asides, rows, where_they_part

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
    changed = [
        f"{change.field} {' -> '.join(where_they_part(change.base, change.new))}"
        for change in comparison.environment_changes
    ]
    if changed:  # one annotation for all of them, since only ten are shown
        found["notice"].append(Annotation("environment changes", _first(changed, MAX_CHANGES)))
    for row in rows(comparison.cases):
        kind = _kind(row)
        if kind is not None:
            title = f"{row.verdict}: {row.subject} of {row.case.id}"
            found[kind].append(Annotation(title, row.details(comparison.sides) or row.verdict))
    return "".join(command for kind in KINDS for command in _commands(kind, found[kind]))


def _first(texts: Sequence[str], most: int) -> str:
    more = [f"and {len(texts) - most} more"] * (len(texts) > most)
    return "; ".join([*texts[:most], *more])


def _kind(row: Row) -> Kind | None:
    if row.is_regression:
        return "error"
    if row.verdict in ("inconclusive", "not comparable"):
        ruled_out = row.metric is not None and row.metric.rules_out_regression
        return "warning" if row.gates and not ruled_out else None
    return "notice" if row.verdict in REGRESSIONS | IMPROVEMENTS else None


def _commands(kind: Kind, found: Sequence[Annotation]) -> Iterator[str]:
    if len(found) > MAX_SHOWN:
        rest = [annotation.title for annotation in found[MAX_SHOWN - 1 :]]
        last = Annotation(f"{len(rest)} more", _first(rest, MAX_NAMED))
        found = [*found[: MAX_SHOWN - 1], last]
    for annotation in found:
        title, message = (
            printable(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
            for text in annotation
        )
        yield f"::{kind} title={title.replace(':', '%3A').replace(',', '%2C')}::{message}\n"


Result = Literal["failure", "error", "skipped"]

FIGURES = ("ratio", "difference", "low", "high", "n_base", "n_new", "threshold", "verdict")
"""Fields of a metric's verdict that become properties `CASE/METRIC/FIGURE`."""


def to_junit(comparison: Comparison, *, created: datetime | None = None) -> str:
    """Return one test suite with one test case per case and metric.

    A gating regression is a failure; a failed or missing case is an error; what cannot be judged is
    skipped, with the reason; everything else passes. `created` defaults to now.
    """
    found = rows(comparison.cases)
    counts = Counter(map(_result, found))
    root = ET.Element("testsuites")
    suite = ET.SubElement(
        root,
        "testsuite",
        name="cnnperf compare",
        package="cnnperf",
        id="0",
        hostname="localhost",
        timestamp=f"{(created or datetime.now(UTC)).astimezone(UTC):%Y-%m-%dT%H:%M:%S}",
        tests=str(len(found)),
        failures=str(counts["failure"]),
        errors=str(counts["error"]),
        skipped=str(counts["skipped"]),
        time="0",
    )
    properties = ET.SubElement(suite, "properties")
    for name, value in _properties(comparison, found):
        ET.SubElement(properties, "property", name=printable(name), value=value)
    for row in found:
        _add_test_case(suite, row, comparison.sides)
    ET.SubElement(suite, "system-out").text = "\n".join(_output(comparison))
    ET.SubElement(suite, "system-err")
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _result(row: Row) -> Result | None:
    if row.verdict in ("failed", "missing"):
        return "error" if row.gates else "skipped"
    if row.is_regression:
        return "failure"
    unjudged = row.verdict in ("inconclusive", "not comparable", "shortened")
    return "skipped" if unjudged else None


def _properties(comparison: Comparison, found: list[Row]) -> Iterator[tuple[str, str]]:
    yield "verdict", comparison.verdict
    yield "exit_code", str(comparison.exit_code)
    for change in comparison.environment_changes:
        yield f"environment/{change.field}/base", printable(change.base)
        yield f"environment/{change.field}/new", printable(change.new)
    for row in found:
        if row.metric is not None:
            for figure in FIGURES:
                value = getattr(row.metric, figure)
                if value is not None:
                    yield f"{row.case.id}/{row.name}/{figure}", str(value)


def _add_test_case(suite: ET.Element, row: Row, sides: tuple[str, str]) -> None:
    case = ET.SubElement(
        suite, "testcase", classname=printable(row.case.id), name=row.name or "case", time="0"
    )
    result = _result(row)
    if result is None:
        return
    details = row.details(sides)
    message = printable(f"{row.verdict}: {details}" if details else row.verdict)
    attributes: dict[str, str] = {"message": message}
    if result != "skipped":  # Ant's schema gives `skipped` no type
        attributes["type"] = row.verdict
    ET.SubElement(case, result, attributes).text = message


def _output(comparison: Comparison) -> Iterator[str]:
    base, new = comparison.sides
    yield printable(comparison.summary)
    for change in comparison.environment_changes:
        yield printable(f"{change.field}: {base} {change.base}, {new} {change.new}")
    for case in comparison.cases:
        for aside in asides(case, comparison.sides):
            yield printable(f"{aside.topic}: {case.id}: {aside.text}")
    for case_id in comparison.new_cases:
        yield printable(f"only in {new}: {case_id}")
    yield from map(printable, comparison.notes)
