"""All commands, under the headings of the help.

A command imports what it needs inside its function, so that each help text and each command starts
quickly.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated

import typer

from cnnperf.cli import (
    ab,
    calibrate,
    compare,
    fleet,
    fleet_run,
    history,
    init,
    list_cases,
    machine,
    records,
    report,
)
from cnnperf.cli.options import option

HELP = """Check whether a new GPU, driver, library or code makes CNN training slower or worse.

Examples:
  pytest benchmarks --benchmark-json=run.json      train and measure
  cnnperf compare base.json run.json               is the new run slower?
  cnnperf report base.json run.json -o page.html   show both as a page

`cnnperf COMMAND --help` shows examples and all options of a command.
"""

COMMANDS: dict[str, tuple[Callable[..., None], ...]] = {
    "Judge": (compare.compare, ab.ab, calibrate.calibrate),
    "Show": (report.report, history.history, records.export),
    "Start and look": (
        init.init,
        list_cases.list_,
        machine.env,
        machine.data,
        machine.floors,
        machine.kernels,
    ),
    "Records": (records.recover, records.schema),
}
"""The commands by the heading under which the help lists them."""


def help_text(docstring: str | None) -> str:
    r"""Return a docstring as help: lists keep their lines, prose is wrapped to the terminal.

    A paragraph with indented lines is a list: typer keeps the line breaks after `\b`. It removes
    the indentation if no other paragraph follows the summary.
    """
    paragraphs = inspect.cleandoc(docstring or "").split("\n\n")
    return "\n\n".join(
        f"\b{text}" if "\n " in text else text.replace("\n", " ") for text in paragraphs
    )


app = typer.Typer(
    name="cnnperf",
    help=help_text(HELP),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for heading, functions in COMMANDS.items():
    for function in functions:
        app.command(
            function.__name__.rstrip("_"),
            help=help_text(function.__doc__),
            rich_help_panel=heading,
        )(function)


fleets = typer.Typer(
    name="fleet",
    help="Train on many devices, and find those that are slow or compute wrongly.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for function in (fleet_run.run, fleet.judge, fleet.place):
    fleets.command(function.__name__, help=help_text(function.__doc__))(function)
app.add_typer(fleets, rich_help_panel="Judge")


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"cnnperf {version('cnnperf')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        option("--version", callback=_print_version, is_eager=True, text="Print the version."),
    ] = False,
) -> None:
    """Hold the options that stand before a command."""
