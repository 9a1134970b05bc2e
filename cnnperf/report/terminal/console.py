"""How the commands talk: tables that fit, a sign of life, and one sentence for what is wrong.

Exit codes 0, 1, 3 and 4 are verdicts, so nothing else may end with one of them by accident: not a
reader that stops early (`| head`), a full disk behind the standard output, or Ctrl-C.
"""

from __future__ import annotations

import errno
import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer
from rich.console import Console

from cnnperf.errors import UsageError, printable

EXIT_USAGE = 2

EXIT_INTERRUPTED = 130
"""By Ctrl-C, as a shell has it: 128 and the signal's number."""

EXIT_NO_READER = 141
"""As of a command that SIGPIPE ended: nobody reads what is written."""


class _Console(Console):
    """One that says when its reader has gone; rich's own ends the process with 1."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def print_rich(renderable: object) -> None:
    """Show a table or text as wide as there is room."""
    console = _Console(emoji=False)
    if not console.file.isatty():  # a log has no right edge, whatever FORCE_COLOR says
        console = _Console(width=max(console.width, 120), emoji=False)
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


@contextmanager
def outliving_the_reader() -> Iterator[None]:
    """Go on where nobody reads the standard output any more: a verdict stays what it is."""
    try:
        yield
        _flush()
    except BrokenPipeError:
        _write_no_more()


def run(command: Callable[[], object]) -> NoReturn:
    """Run a whole command line and end the process with its exit code."""
    code = _exit_code(command)
    gc.freeze()  # else Python's end searches all that was imported for cycles: a tenth of `compare`
    sys.exit(code)


def _exit_code(command: Callable[[], object]) -> int:
    try:
        command()
        _flush()
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # rich and typer make 1 of it
            return _without_reader()
        return end.code if isinstance(end.code, int) else 0 if end.code is None else EXIT_USAGE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        return _without_reader()
    except OSError as error:
        if error.filename is not None:  # of a file: nobody foresaw that
            raise
        _write_no_more()
        typer.echo(f"cnnperf: the output cannot be written: {error.strerror or error}", err=True)
        return EXIT_USAGE
    return 0


def _without_reader() -> int:
    _write_no_more()
    return EXIT_NO_READER


def _flush() -> None:
    if sys.stdout is not None:  # as it is where a shell closed it
        sys.stdout.flush()


def _write_no_more() -> None:
    """Let what is left go nowhere: Python tries once more at its end, and would end with 120."""
    if sys.stdout is None:
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
