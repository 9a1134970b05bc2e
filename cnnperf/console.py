"""How the commands talk: tables that fit, a sign of life, and one sentence for what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console

from cnnperf.errors import UsageError, printable

EXIT_USAGE = 2


def print_rich(renderable: object) -> None:
    """Show a table or text as wide as there is room."""
    console = Console()
    if not console.file.isatty():  # a log has no right edge, whatever FORCE_COLOR says
        console = Console(width=max(console.width, 120))
    console.print(renderable)


@contextmanager
def status(text: str) -> Iterator[None]:
    """Say on a terminal that something slow goes on."""
    console = Console(stderr=True)
    if console.is_interactive and console.file.isatty():
        with console.status(text):
            yield
    else:
        yield


@contextmanager
def sentences() -> Iterator[None]:
    """Show the user's own errors as one sentence, with exit code 2."""
    try:
        yield
    except UsageError as error:
        typer.echo(f"cnnperf: {printable(str(error))}", err=True)
        raise typer.Exit(EXIT_USAGE) from None
