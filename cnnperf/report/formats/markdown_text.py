"""Write text from records as GitHub's Markdown without letting it act as Markdown.

A case's id, a reason or a driver's name comes from a file that anybody may have written. Text that
could be taken for Markdown, HTML, a link, a mention or an emoji becomes a code span, in which
GitHub looks for none of these; other text stays plain.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from cnnperf.errors import printable
from cnnperf.record.metrics import ABSENT

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


def table_row(cells: Iterable[str]) -> str:
    """Return one line of a table; the cells are Markdown already."""
    return f"| {' | '.join(map(_pipes_escaped, cells))} |"


def table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a table; the cells are Markdown already."""
    rule = ["---"] * len(heads)
    return "\n".join([table_row(heads), table_row(rule), *map(table_row, lines)])


def collapsed(summary: str, body: str) -> str:
    """Return a body that a click opens; the summary must not come from a record."""
    return f"<details>\n<summary>{summary}</summary>\n\n{body}\n\n</details>"


def _pipes_escaped(cell: str) -> str:
    """Escape pipes, which end a cell even in code; GitHub does not show the backslash."""
    return cell.replace("|", "\\|")
