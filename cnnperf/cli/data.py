"""The command `cnnperf data`: fetch and check data sets."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cnnperf.cli.options import DataDir, Modules, import_user_modules, option
from cnnperf.report.terminal.console import sentences

if TYPE_CHECKING:
    from cnnperf.catalog.specs import DatasetSpec


def data(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Data sets. Default: all of them.", show_default=False),
    ] = None,
    check: Annotated[
        bool, option("--check", text="Download nothing; exit with 1 if a data set is not there.")
    ] = False,
    data_dir: DataDir = None,
    module: Modules = None,
) -> None:
    """Download the data sets, or check that they are there and undamaged.

    Examples:
      cnnperf data mnist cifar10
      cnnperf data --check

    A training never downloads data.
    """
    from cnnperf.catalog.datasets import check_files, default_data_dir
    from cnnperf.catalog.registry import all_datasets, get_dataset

    folder = (Path(data_dir) if data_dir else default_data_dir()).expanduser().absolute()
    with sentences():
        import_user_modules(module)
        specs = [get_dataset(name) for name in names] if names else all_datasets()
        missing = False
        for spec in specs:
            problem = check_files(spec, folder, checksum=True)
            if problem is None:
                typer.echo(f"{spec.name}: {_describe(spec, folder)}")
            elif check:
                typer.echo(f"{spec.name}: {problem.message}")
                missing = True
            else:
                _fetch(spec.name, folder, module or [])
    raise typer.Exit(int(missing))


def _describe(spec: DatasetSpec, folder: Path) -> str:
    if not spec.files:
        return f"nothing to fetch ({spec.source})"
    return f"complete, {len(spec.files)} files in {folder}"


def _fetch(name: str, folder: Path, modules: list[str]) -> None:
    """Download a data set in a process, which may load torchvision, and show its messages.

    Raises:
        typer.Exit: the download failed; the process printed why.
    """
    command = [sys.executable, "-m", "cnnperf.training.download", name, str(folder), *modules]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            typer.echo(line, nl=False)
    if process.returncode:
        raise typer.Exit(process.returncode)
