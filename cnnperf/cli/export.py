"""The command `cnnperf export`: a record in the format of another dashboard."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cnnperf.cli.options import option
from cnnperf.report.formats.comparison import write_text
from cnnperf.report.terminal.console import sentences


class Target(StrEnum):
    """Formats of other dashboards."""

    SMALLER = "customSmallerIsBetter"
    BIGGER = "customBiggerIsBetter"
    BENCHER = "bencher"


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A record.", show_default=False)],
    to: Annotated[
        Target,
        option(
            "--to",
            metavar="FORMAT",
            text="customSmallerIsBetter or customBiggerIsBetter (github-action-benchmark), or "
            "bencher (Bencher Metric Format).",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        option("--output", "-o", metavar="FILE", text="Write to FILE."),
    ] = None,
) -> None:
    """Convert a record to the JSON of github-action-benchmark or Bencher.

    Examples:
      cnnperf export run.json --to bencher -o bencher.json
      cnnperf export run.json --to customSmallerIsBetter

    The JSON goes to the terminal unless -o names a file.
    """
    from cnnperf.record.loading import load_record
    from cnnperf.report.formats.dashboards import export as export_record

    with sentences():
        text = json.dumps(export_record(load_record(run), to.value), indent=2)
        if output is None:
            typer.echo(text)
        else:
            write_text(output, text + "\n")
            typer.echo(f"{output}: {to.value}")
