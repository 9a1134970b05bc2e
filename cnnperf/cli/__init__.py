"""The command `cnnperf`: what is there, what this machine is, data sets, records, verdicts.

    cnnperf list
    cnnperf data mnist
    cnnperf compare base.json new.json
    cnnperf report base.json new.json -o report.html
    cnnperf recover reports/run-20260101-120000.journal.jsonl -o reports/run.json

Bad usage ends with one sentence and exit code 2.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from cnnperf.cli.lazy import LaterGroup
from cnnperf.errors import UsageError
from cnnperf.report.terminal.console import print_rich, run, sentences, status

app = typer.Typer(
    name="cnnperf",
    cls=LaterGroup,
    help="Did this GPU, driver, library or code change make CNN training faster or slower, and "
    "does it still learn as well? The benchmarks themselves run with `pytest benchmarks`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={
        "help_option_names": ["-h", "--help"],
        # Else typer loads pydantic to find that a --help which is not there is no bool.
        "default_map": {"help": False},
    },
)

DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        metavar="DIR",
        help="Where the data sets lie (default: $CNNPERF_DATA_DIR, else ~/.cache/cnnperf/data).",
    ),
]
Modules = Annotated[
    list[str] | None,
    typer.Option(
        "--module",
        "-m",
        metavar="MODULE",
        help="Import this module first, which registers models, data sets or cases of your own.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"cnnperf {version('cnnperf')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Hold the options that stand before a command."""


@app.command("list")
def list_cases(
    tier: Annotated[
        str | None,
        typer.Option("--tier", "-t", metavar="{smoke,standard,full}", help="Only this tier."),
    ] = None,
    module: Modules = None,
    as_json: AsJson = False,
) -> None:
    """List the cases: parameters, FLOPs per image, images, tiers."""
    from cnnperf.catalog.registry import import_modules
    from cnnperf.cli.listing import Cases, case_rows

    with sentences():
        import_modules(module or (), [str(Path.cwd())], "--module")
        with status("counting parameters and FLOPs ..."):
            rows = case_rows(tier, tuple(module or ()))
        if as_json:
            typer.echo(json.dumps(rows, indent=2))
        else:
            print_rich(Cases(rows))


@app.command()
def env(as_json: AsJson = False) -> None:
    """Show what this machine is: hardware, software, settings."""
    from cnnperf.cli.listing import this_environment
    from cnnperf.report.terminal.run import environment_table

    with sentences():
        with status("looking at this machine ..."):
            environment = this_environment()
        if as_json:
            typer.echo(environment.model_dump_json(indent=2))
        else:
            print_rich(environment_table(environment))


@app.command()
def data(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Data sets (default: all of them)."),
    ] = None,
    data_dir: DataDir = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Download nothing; exit code 1 if one is not there."),
    ] = False,
    module: Modules = None,
) -> None:
    """Fetch the data sets, or check that they are there and undamaged."""
    from cnnperf.catalog.datasets import default_data_dir
    from cnnperf.catalog.registry import import_modules
    from cnnperf.cli.listing import check_datasets, fetch_datasets

    folder = (data_dir or default_data_dir()).expanduser().absolute()
    with sentences():
        import_modules(module or (), [str(Path.cwd())], "--module")
        if not check:
            fetch_datasets(names or None, folder, typer.echo)
        elif not check_datasets(names or None, folder, typer.echo):
            raise typer.Exit(1)


@app.command()
def schema() -> None:
    """Print the JSON Schema of the record."""
    from cnnperf.record.schema import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))


@app.command()
def recover(
    journal: Annotated[Path, typer.Argument(help="The journal that a stopped run left.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The record to write.")
    ],
    force: Annotated[bool, typer.Option("--force", "-f", help="Overwrite FILE.")] = False,
) -> None:
    """Make a record of a journal: what a run had finished when it was killed."""
    from cnnperf.record.benchmark_json import write_benchmark_json
    from cnnperf.record.journal import read_journal, record_from_journal
    from cnnperf.report.terminal.run import run_summary

    with sentences():
        record = record_from_journal(*read_journal(journal))
        if output.exists() and not force:
            raise UsageError(f"{output} exists: choose another name or say --force")
        write_benchmark_json(record, output)
        print_rich(run_summary(record))
        repeats = sum(len(case.repeats) for case in record.cases)
        typer.echo(f"{output}: {repeats} finished trainings of {len(record.cases)} cases")


def main() -> None:
    """Entry point of the console script."""
    # pydantic would read what every installed package is registered for, to find its own plugins.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")
    run(app)
