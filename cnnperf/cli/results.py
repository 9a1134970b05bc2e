"""The command `cnnperf results`: a folder of records as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cnnperf.cli.options import option
from cnnperf.errors import UsageError
from cnnperf.report.terminal.console import sentences


def results(
    folder: Annotated[
        Path,
        typer.Argument(metavar="[FOLDER]", help="With a folder for each machine and stack in it."),
    ] = Path("reports"),
    output: Annotated[
        Path, option("--output", "-o", metavar="FILE", text="The page, in Markdown.")
    ] = Path("docs/results.md"),
    check: Annotated[
        bool, option("--check", text="Write nothing; exit code 1 if the page is not up to date.")
    ] = False,
) -> None:
    """Set the study's table beside all that was measured, with n, spread, machine and command."""
    from cnnperf.cli.evidence import read_stacks
    from cnnperf.cli.evidence_page import results_page

    with sentences():
        stacks = read_stacks(folder)
        page = results_page(stacks, output)
        if check:
            _check(page, output, folder)
            return
        try:
            output.write_text(page, encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{output} cannot be written: {error.strerror or error}") from error
    count = sum(len(stack.sources) for stack in stacks)
    typer.echo(f"{output}: {len(stacks)} machine{'s' * (len(stacks) > 1)}, {count} records")


def _check(page: str, output: Path, folder: Path) -> None:
    """Say whether a page is what its records make of it."""
    if output.is_file() and output.read_text(encoding="utf-8") == page:
        typer.echo(f"{output} is up to date")
        return
    typer.echo(f"{output} is not what {folder} makes of it: `cnnperf results {folder} -o {output}`")
    raise typer.Exit(1)
