"""The commands `cnnperf recover`, `export` and `schema`: one record, made or converted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from cnnperf.cli.options import Force, option
from cnnperf.errors import UsageError, inert_json
from cnnperf.record.files import name_of
from cnnperf.record.writing import check_output, write_file
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
        check_output(output, [journal], force=force)
        if output.exists() and not force:
            raise UsageError(f"{output} exists: choose another name or add --force")
        record = record_from_journal(*read_journal(journal))
        write_benchmark_json(record, output)
        print_rich(run_summary(record))
        repeats = sum(len(case.repeats) for case in record.cases)
        typer.echo(f"{name_of(output)}: {repeats} finished trainings of {len(record.cases)} cases")


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A record.", show_default=False)],
    to: Annotated[
        Literal["customSmallerIsBetter", "customBiggerIsBetter", "bencher", "anonymous"],
        option(
            "--to",
            metavar="FORMAT",
            text="customSmallerIsBetter or customBiggerIsBetter (github-action-benchmark), "
            "bencher (Bencher Metric Format), or anonymous (a copy of the record without names of "
            "host and user).",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        option("--output", "-o", metavar="FILE", text="Write to FILE."),
    ] = None,
    force: Force = False,
) -> None:
    """Convert a record to the JSON of github-action-benchmark or Bencher, or make it anonymous.

    Examples:
      cnnperf export run.json --to bencher -o bencher.json
      cnnperf export run.json --to anonymous -o public.json
      cnnperf export run.json --to customSmallerIsBetter

    The JSON goes to the terminal unless -o names a file.
    """
    from cnnperf.record.anonymous import anonymous
    from cnnperf.record.benchmark_json import to_benchmark_json
    from cnnperf.record.loading import load_record
    from cnnperf.report.formats.dashboards import export as export_record

    with sentences():
        check_output(output, [run], force=force)
        record = load_record(run)
        if to == "anonymous":
            text = inert_json(json.dumps(to_benchmark_json(anonymous(record)), indent=2))
        else:
            text = inert_json(json.dumps(export_record(record, to), indent=2))
        if output is None:
            typer.echo(text)
        else:
            write_file(output, text + "\n")
            typer.echo(f"{name_of(output)}: {to}")


def schema(
    config: Annotated[
        bool, option("--config", text="Print the schema of cnnperf.toml instead.")
    ] = False,
) -> None:
    """Print the JSON Schema of a record, or of cnnperf.toml for an editor."""
    if config:
        from cnnperf.run.project import config_schema

        typer.echo(json.dumps(config_schema(), indent=2))
        return
    from cnnperf.record.schema import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))
