"""Show a comparison in the chosen format, on the terminal or in a file."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cnnperf.errors import inert_json, printable
from cnnperf.record.writing import write_file
from cnnperf.report.terminal.console import print_rich

if TYPE_CHECKING:  # `cnnperf --help` needs the formats alone
    from cnnperf.compare.rules import Rules
    from cnnperf.compare.verdicts import Comparison

FILE_WIDTH = 120
"""Characters per line of a table in a file."""


class Format(StrEnum):
    """The format of a comparison."""

    TABLE = "table"
    MARKDOWN = "markdown"
    GITHUB = "github"
    JUNIT = "junit"
    JSON = "json"


def present(
    comparison: Comparison,
    form: Format,
    *,
    output: Path | None = None,
    rules: Rules,
    verbose: bool = False,
    everything: bool = False,
) -> None:
    """Show a comparison, or write it to a file and show its summary.

    Of many cases, what people read (a table, Markdown) leaves out those without a change, unless
    `everything` is wanted; the formats for programs are always complete.

    Raises:
        UsageError: the file cannot be written.
    """
    if output is not None:
        write_file(output, as_text(comparison, form, everything=everything))
        typer.echo(printable(comparison.summary))
        return
    if form is not Format.TABLE:
        typer.echo(as_text(comparison, form, everything=everything), nl=False)
        return
    from cnnperf.report.terminal.comparison import comparison_summary, thresholds_table
    from cnnperf.report.wording.comparison import shortened

    shown, left_out = (comparison, "") if everything else shortened(comparison)
    if verbose:
        print_rich(thresholds_table(shown, rules.thresholds))
    print_rich(comparison_summary(shown, left_out))


def as_text(comparison: Comparison, form: Format, *, everything: bool = False) -> str:
    """Return the comparison as text that ends with a newline."""
    if form is Format.GITHUB:
        from cnnperf.report.formats.ci import to_github

        return to_github(comparison)
    if form is Format.JUNIT:
        from cnnperf.report.formats.ci import to_junit

        return to_junit(comparison)
    if form is Format.JSON:
        return to_json(comparison)
    from cnnperf.report.formats.markdown import COMMENT_MAX_CHARS, SUMMARY_MAX_BYTES, to_markdown
    from cnnperf.report.terminal.comparison import comparison_summary
    from cnnperf.report.terminal.run import render
    from cnnperf.report.wording.comparison import shortened

    shown, left_out = (comparison, "") if everything else shortened(comparison)
    if form is Format.MARKDOWN:
        most = SUMMARY_MAX_BYTES if everything else COMMENT_MAX_CHARS
        return to_markdown(shown, left_out, max_chars=most)
    return render(comparison_summary(shown, left_out), width=FILE_WIDTH, color=False)


def to_json(comparison: Comparison) -> str:
    """Return the comparison with either `ratio` or `difference`, by which the metric is compared.

    Absent values, infinity and NaN become null.
    """
    from cnnperf.compare.thresholds import JUDGED

    content: dict[str, Any] = json.loads(comparison.model_dump_json())
    for shown, case in zip(content["cases"], comparison.cases, strict=True):
        for name, metric in case.metrics.items():
            by_ratio = metric.ratio is not None
            if not by_ratio and metric.difference is None:  # no estimate: the name decides
                by_ratio = metric.unit is None and (name not in JUDGED or JUDGED[name].by_ratio)
            del shown["metrics"][name]["difference" if by_ratio else "ratio"]
    return inert_json(json.dumps(content, indent=2)) + "\n"
