"""Write a comparison as Markdown, for a GitHub step summary or the comment of a pull request.

    cnnperf compare base.json new.json --format markdown >> "$GITHUB_STEP_SUMMARY"

Regressions come first; unchanged metrics are collapsed. A text from a record could be taken for
Markdown, HTML, a link or a mention: such a text becomes a code span, which GitHub leaves as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from cnnperf.compare.verdicts import Comparison
from cnnperf.errors import printable
from cnnperf.record.metrics import ABSENT
from cnnperf.report.wording import capitalised, counted, some
from cnnperf.report.wording.comparison import Row, asides, effect, medians, rows

COMMENT_MAX_CHARS = 65_536
"""GitHub refuses longer comments."""

SUMMARY_MAX_BYTES = 2**20
"""GitHub refuses longer step summaries."""

OPEN_CHANGES = 6
"""More environment changes than these are collapsed."""

UNCHANGED = ("same", "shortened")


class Extent(NamedTuple):
    """How much of a comparison is written."""

    unchanged: bool = True
    lines: int | None = None
    """Lines of every table and list; None for all."""


EXTENTS = (
    Extent(),
    Extent(unchanged=False),
    *(Extent(unchanged=False, lines=lines) for lines in (1000, 300, 100, 30, 10, 3, 0)),
)
"""Tried in this order until one fits."""


def to_markdown(comparison: Comparison, left_out: str = "", *, max_chars: int | None = None) -> str:
    """Return the comparison as Markdown for GitHub, with the line on what `shortened` left out.

    The limit is counted in UTF-8 bytes, so that it holds for characters and bytes alike. Unchanged
    metrics are left out first, then the end of every table; the text says so.
    """
    for extent in EXTENTS:
        text = "\n\n".join(_sections(comparison, extent, left_out)) + "\n"
        if max_chars is None or len(text.encode()) <= max_chars:
            return text
    return f"**{comparison.verdict}**\n"[:max_chars]


def _sections(comparison: Comparison, extent: Extent, left_out: str) -> Iterator[str]:
    yield "### cnnperf compare"
    yield f"**{prose(comparison.summary)}**"
    new = comparison.sides[1]
    yield f"{_files(comparison.new_files)} ({new}) compared with {_files(comparison.base_files)}"
    yield from _environment(comparison, extent)
    yield from _verdicts(comparison, extent)
    if left_out:
        yield f"{capitalised(left_out)}."
    yield from _bullets(f"Only in {new} (do not gate)", map(code, comparison.new_cases), extent)
    yield from _bullets("Notes (do not gate)", _notes(comparison), extent)


def _files(names: Sequence[str]) -> str:
    return some([code(name) for name in names], 3) or ABSENT


def _environment(comparison: Comparison, extent: Extent) -> Iterator[str]:
    changes = comparison.environment_changes
    if not changes:
        yield "No recorded difference between the environments."
        return
    lines = [
        (code(change.field), code(change.base), code(change.new), "not comparable" * change.forbids)
        for change in changes[: extent.lines]
    ]
    title = f"Environment changes: {len(changes)}"
    shown = _table(("field", *comparison.sides, ""), lines, len(changes))
    yield collapsed(title, shown) if len(changes) > OPEN_CHANGES else f"{title}\n\n{shown}"


def _verdicts(comparison: Comparison, extent: Extent) -> Iterator[str]:
    heads = ("case", "metric", *comparison.sides, "change", "verdict", "reason")
    found = rows(comparison.cases)
    changed = [row for row in found if row.verdict not in UNCHANGED]
    unchanged = [row for row in found if row.verdict in UNCHANGED]
    if changed:
        yield _table(heads, map(_line, changed[: extent.lines]), len(changed))
    if unchanged:
        title = f"Unchanged or not judged: {len(unchanged)}"
        if extent.unchanged:
            yield collapsed(title, _table(heads, map(_line, unchanged), len(unchanged)))
        else:
            yield f"{title}, left out because of the length limit."


def _line(row: Row) -> tuple[str, ...]:
    base, new, change = "", "", ""
    if row.name is not None and row.metric is not None:
        base, new = medians(row.name, row.metric)
        change = effect(row.metric)
    verdict = f"**{row.verdict}**" if row.is_regression else row.verdict
    why = prose(row.explanation) if row.explanation else ""
    return code(row.case.id), prose(row.subject), base, new, change, verdict, why


def _notes(comparison: Comparison) -> Iterator[str]:
    for case in comparison.cases:
        for note in asides(case, comparison.sides):
            yield f"{note.topic}: {code(case.id)}: {prose(note.text)}"
    yield from map(prose, comparison.notes)


def _table(heads: Sequence[str], lines: Iterable[Sequence[str]], total: int) -> str:
    shown = list(lines)
    return table(heads, shown) + _left_out(total - len(shown))


def _bullets(title: str, lines: Iterable[str], extent: Extent) -> Iterator[str]:
    if found := list(lines):
        shown = found[: extent.lines]
        bullets = "\n".join(f"- {line}" for line in shown)
        yield f"{title}:\n\n{bullets}{_left_out(len(found) - len(shown))}"


def _left_out(count: int) -> str:
    text = f"\n\n{counted(count, 'more line')} left out because of the length limit."
    return text if count else ""


MAX_TEXT = 300
"""Characters of one text that are shown."""

HARMLESS = re.compile(r"[^\W_](?:[^\W_]|(?<=[^\W_])_(?=[^\W_])|[ .,;%()'\"/+=…±µ-]|:(?= |$))*")
"""Letters and digits first, so that no list begins; no underscore at a word's edge; no character
that opens a span, a link, HTML, a mention, a reference, a formula or an emoji."""

LINKED = re.compile(r"^\d+[.)]|www\.|\bGH-\d|\b[0-9a-f]{7,40}\b", re.IGNORECASE)
"""Begins a list, or becomes a link even in plain words: an address, an issue, a commit."""


def clipped(text: str) -> str:
    """Return one printable line of at most `MAX_TEXT` characters."""
    line = printable(text)
    return line if len(line) <= MAX_TEXT else line[: MAX_TEXT - 1] + "…"


def code(text: str) -> str:
    """Return a code span whose fence is longer than any run of backticks in the text.

    >>> code("modified_vgg-mnist-28-eager")
    '`modified_vgg-mnist-28-eager`'
    """
    line = clipped(text)
    if not line:
        return ABSENT
    fence = "`" * (max(map(len, re.findall("`+", line)), default=0) + 1)
    gap = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{gap}{line}{gap}{fence}"


def prose(text: str) -> str:
    """Return plain words where they are harmless, else a code span.

    >>> prose("killed by SIGKILL"), prose("see @everyone")
    ('killed by SIGKILL', '`see @everyone`')
    """
    line = clipped(text)
    return line if HARMLESS.fullmatch(line) and not LINKED.search(line) else code(line)


def table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a table; the cells are Markdown already.

    A pipe ends a cell even in code; GitHub does not show the backslash before it.
    """
    rule = ["---"] * len(heads)
    cells = ((cell.replace("|", "\\|") for cell in line) for line in (heads, rule, *lines))
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def collapsed(summary: str, body: str) -> str:
    """Return a body that a click opens; the summary must not come from a record."""
    return f"<details>\n<summary>{summary}</summary>\n\n{body}\n\n</details>"
