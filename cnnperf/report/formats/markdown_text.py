"""Text from records in GitHub's Markdown: shown as it is, and never obeyed.

A case's id, a reason or a driver's name comes from a file that anybody may have written. It is
plain text where nothing in it could be taken for Markdown, HTML, a link, a mention or an emoji, and
a code span where something could: GitHub looks for none of these in code.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from cnnperf.errors import printable
from cnnperf.record.metrics import ABSENT

MAX_TEXT = 300
"""Characters that are shown of one text."""

HARMLESS = re.compile(r"[^\W_](?:[^\W_]|(?<=[^\W_])_(?=[^\W_])|[ .,;%()'\"/+=…±µ-]|:(?= |$))*")
"""Letters and digits first, so that no list begins; no underscore at a word's edge; no character
that opens a span, a link, HTML, a mention, a reference, a formula or an emoji."""

LINKED = re.compile(r"^\d+[.)]|www\.|\bGH-\d|\b[0-9a-f]{7,40}\b", re.IGNORECASE)
"""What begins a list or is made a link even in plain words: an address, an issue, a commit."""


def clipped(text: str) -> str:
    """One line of at most `MAX_TEXT` characters, without anything that a terminal obeys."""
    line = printable(text)
    return line if len(line) <= MAX_TEXT else line[: MAX_TEXT - 1] + "…"


def code(text: str) -> str:
    """A code span; its fence is longer than any run of backticks in the text.

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
    """Plain words where they are harmless, else a code span.

    >>> prose("killed by SIGKILL"), prose("see @everyone")
    ('killed by SIGKILL', '`see @everyone`')
    """
    line = clipped(text)
    return line if HARMLESS.fullmatch(line) and not LINKED.search(line) else code(line)


def table_row(cells: Iterable[str]) -> str:
    """One line of a table, of cells that are Markdown already."""
    return f"| {' | '.join(map(_pipes_escaped, cells))} |"


def table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table of cells that are Markdown already."""
    rule = ["---"] * len(heads)
    return "\n".join([table_row(heads), table_row(rule), *map(table_row, lines)])


def collapsed(summary: str, body: str) -> str:
    """A body that is shown on a click; the summary is our own text."""
    return f"<details>\n<summary>{summary}</summary>\n\n{body}\n\n</details>"


def _pipes_escaped(cell: str) -> str:
    """In code too a pipe ends a cell, unless a backslash precedes it, which is then not shown."""
    return cell.replace("|", "\\|")
