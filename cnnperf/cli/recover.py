"""The command `cnnperf recover`: a record from the journal of a stopped run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cnnperf.cli.options import option
from cnnperf.errors import UsageError
from cnnperf.report.terminal.console import print_rich, sentences


def recover(
    journal: Annotated[
        Path,
        typer.Argument(
            metavar="JOURNAL", help="Journal that a stopped run left behind.", show_default=False
        ),
    ],
    output: Annotated[
        Path,
        option("--output", "-o", metavar="FILE", text="Record to write.", show_default=False),
    ],
    force: Annotated[bool, option("--force", "-f", text="Overwrite FILE.")] = False,
) -> None:
    """Make a record from the journal of a stopped run.

    The record has every training that was finished before the run stopped.

    Example:
      cnnperf recover run-20260101-120000.journal.jsonl -o run.json
    """
    from cnnperf.record.benchmark_json import write_benchmark_json
    from cnnperf.record.journal import read_journal, record_from_journal
    from cnnperf.report.terminal.run import run_summary

    with sentences():
        record = record_from_journal(*read_journal(journal))
        if output.exists() and not force:
            raise UsageError(f"{output} exists: choose another name or add --force")
        write_benchmark_json(record, output)
        print_rich(run_summary(record))
        repeats = sum(len(case.repeats) for case in record.cases)
        typer.echo(f"{output}: {repeats} finished trainings of {len(record.cases)} cases")
