"""The output and the exit codes of the commands.

Exit codes 0, 1, 3 and 4 are verdicts. Nothing else may end with one of them by accident: not a
reader that stops early (`| head`), not a full disk behind the standard output, not Ctrl-C, and not
a terminal that cannot encode a character.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

import typer
from rich.console import Console

from cnnperf.errors import UsageError, printable

EXIT_USAGE = 2

EXIT_INTERRUPTED = 130
"""Exit code after Ctrl-C, as in a shell: 128 plus the signal's number."""

EXIT_NO_READER = 141
"""Exit code when the reader of the output is gone, as after SIGPIPE."""

ASCII = str.maketrans({
    "—": "-", "±": "+-", "→": "->", "…": "...", "\xd7": "x", "·": ".", "µ": "u",
    **dict.fromkeys("─━═╌╍", "-"), **dict.fromkeys("│┃║", "|"),
    **dict.fromkeys("╭╮╰╯┌┐└┘├┤┬┴┼╞╡╪", "+"),
})  # fmt: skip
"""What stands for our own characters, and for rich's lines, where the output cannot have them. For
others it is `?`."""


class _Console(Console):
    """A console that raises when its reader is gone; rich's own exits with 1, a verdict."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def print_rich(renderable: object) -> None:
    """Print a table or text as wide as the terminal, and at least 120 columns wide in a log."""
    console = _Console(emoji=False)
    if not console.file.isatty():  # FORCE_COLOR makes a log look like a terminal
        console = _Console(width=max(console.width, 120), emoji=False)
    console.print(renderable)


@contextmanager
def status(text: str) -> Iterator[Callable[[str], None]]:
    """Show on a terminal that something slow is in progress; what it yields changes the text."""
    console = Console(stderr=True)
    if console.is_interactive and console.file.isatty():
        with console.status(text) as shown:
            yield lambda text: shown.update(text)
    else:
        yield lambda _: None


@contextmanager
def sentences() -> Iterator[None]:
    """Print a `UsageError` as one sentence and exit with code 2."""
    try:
        yield
    except UsageError as error:
        typer.echo(f"cnnperf: {printable(str(error))}", err=True)
        raise typer.Exit(EXIT_USAGE) from None


@contextmanager
def outliving_the_reader() -> Iterator[None]:
    """Continue if the reader of the standard output is gone, so that the verdict stays."""
    try:
        yield
        _flush()
    except BrokenPipeError:
        _write_no_more()


def _replace(error: UnicodeError) -> tuple[str, int]:
    """Return what is written instead, and where to continue: an error handler of `codecs`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(ASCII)
    return "".join(letter if letter.isascii() else "?" for letter in text), error.end


def replace_unencodable(stream: TextIO | None) -> Callable[[], None]:
    """Make a stream write ASCII for what its encoding lacks; return what undoes it."""
    if not isinstance(stream, io.TextIOWrapper):
        return lambda: None
    before = stream.errors
    codecs.register_error("cnnperf", _replace)
    stream.reconfigure(errors="cnnperf")
    return lambda: stream.reconfigure(errors=before)


def run(command: Callable[[], object]) -> int:
    """Run a command line and return its exit code.

    Raises:
        Exception: an error of cnnperf itself.
    """
    for stream in (sys.stdout, sys.stderr):
        replace_unencodable(stream)
    try:
        command()
        _flush()
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # rich and typer turn it into 1
            return _without_reader()
        if isinstance(end.__context__, typer.Abort):  # typer turns an EOFError into 1
            raise EOFError("a file ended early") from end.__context__  # noqa: TRY004
        return end.code if isinstance(end.code, int) else 0 if end.code is None else EXIT_USAGE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        return _without_reader()
    except OSError as error:
        if error.filename is not None:  # a file's error is a bug
            raise
        _write_no_more()
        typer.echo(f"cnnperf: the output cannot be written: {error.strerror or error}", err=True)
        return EXIT_USAGE
    return 0


def _without_reader() -> int:
    _write_no_more()
    return EXIT_NO_READER


def _flush() -> None:
    if sys.stdout is not None:  # None if the shell closed it
        sys.stdout.flush()


def _write_no_more() -> None:
    """Discard the rest of the output: Python's flush at exit would fail and exit with 120."""
    if sys.stdout is None:
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
