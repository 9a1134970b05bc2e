"""`cnnperf env`, `data`, `floors` and `kernels`: what a machine is, has and can do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cnnperf.cli.options import (
    AsJson,
    Expression,
    Force,
    Modules,
    load_project,
    option,
    training_options,
)
from cnnperf.errors import EXIT_INTERNAL, inert_json
from cnnperf.record.writing import check_output, write_file
from cnnperf.report.terminal.console import print_rich, sentences, status
from cnnperf.run.settings import settings_from

if TYPE_CHECKING:
    from cnnperf.record.environment import Environment


def env(as_json: AsJson = False) -> None:
    """Show the hardware, software and settings of this machine."""
    from cnnperf.report.terminal.run import environment_table

    with sentences():
        with status("looking at this machine ..."):
            environment = this_environment()
        if as_json:
            typer.echo(inert_json(environment.model_dump_json(indent=2)))
        else:
            print_rich(environment_table(environment))


def this_environment() -> Environment:
    """Return this machine as a worker sees it; without torch, what can be found without it."""
    from cnnperf.machine.inventory import collect_environment
    from cnnperf.record.messages import ProbeJob
    from cnnperf.run.session import missing_packages
    from cnnperf.run.worker_process import probe

    if missing_packages():
        return collect_environment(device="cpu")
    return probe(ProbeJob()).environment


@training_options("data_dir")
def data(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Data sets. Default: all of them.", show_default=False),
    ] = None,
    check: Annotated[
        bool, option("--check", text="Download nothing; exit with 1 if a data set is not there.")
    ] = False,
    module: Modules = None,
    **given: Any,
) -> None:
    """Download the data sets, or check that they are there and undamaged.

    Examples:
      cnnperf data mnist cifar10
      cnnperf data --check

    A training never downloads data.
    """
    from cnnperf.catalog.datasets import check_files
    from cnnperf.catalog.registry import all_datasets, get_dataset

    with sentences():
        load_project(module)
        folder = settings_from(given, ()).data_dir
        specs = [get_dataset(name) for name in names] if names else all_datasets()
        missing = False
        for spec in specs:
            problem = check_files(spec, folder, checksum=True)
            if problem is None:
                files = f"complete, {len(spec.files)} files in {folder}"
                none = f"nothing to fetch ({spec.source})"
                typer.echo(f"{spec.name}: {files if spec.files else none}")
            elif check:
                typer.echo(f"{spec.name}: {problem.message}")
                missing = True
            else:
                _fetch(spec.name, folder, module or [])
    raise typer.Exit(int(missing))


def _fetch(name: str, folder: Path, modules: list[str]) -> None:
    """Download a data set in a process, which may load torchvision, and show its messages."""
    command = [
        sys.executable, "-P", "-m", "cnnperf.training.download", name, str(folder), *modules
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            typer.echo(line, nl=False)
    if process.returncode < 0:
        raise RuntimeError(f"signal {-process.returncode} ended the download of {name}")
    if process.returncode:
        raise typer.Exit(process.returncode if process.returncode != 1 else EXIT_INTERNAL)


CaseIds = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="CASE",
        help="Ids of cases. Default: those of the records, else those of the tier.",
        show_default=False,
    ),
]
RecordFiles = Annotated[
    list[Path] | None,
    option(
        "--record",
        "-r",
        metavar="FILE",
        text="Show the times in this record, measured on this machine, next to the floors. "
        "Repeatable.",
    ),
]
FloorsFormat = Annotated[
    Literal["table", "json"], option("--format", "-f", metavar="FORMAT", text="table or json.")
]
JsonOutput = Annotated[
    Path | None, option("--output", "-o", metavar="FILE", text="Also write the JSON to FILE.")
]


@training_options("tier", "device")
def floors(
    cases: CaseIds = None,
    record: RecordFiles = None,
    expression: Expression = None,
    form: FloorsFormat = "table",
    output: JsonOutput = None,
    force: Force = False,
    module: Modules = None,
    **given: Any,
) -> None:
    """Measure what this device can do, and show the shortest possible time of each case.

    Examples:
      cnnperf floors -k mnist
      cnnperf floors --record run.json

    A training can be no faster than its FLOPs at the peak of a matrix product, nor than the bytes
    it moves at the bandwidth of a copy. Both peaks are measured now, which takes up to a minute.
    """
    from cnnperf.report.terminal.floors import floors_json, floors_summary
    from cnnperf.run.floors_inputs import choose_cases, floors_of, look, read_recorded

    with sentences():
        load_project(module)
        check_output(output, record or [], force=force)
        recorded = read_recorded(record or [])
        chosen = choose_cases(cases or [], expression, recorded, **given)
        with status("measuring what this device can do ..."):
            probed = look(chosen, given["device"], module or [])
        found = floors_of(chosen, probed, recorded)
        text = inert_json(json.dumps(floors_json(found, probed), indent=2))
        if output is not None:
            write_file(output, text + "\n")
    if form == "json":
        typer.echo(text)
    else:
        print_rich(floors_summary(found, probed))


GPU = Annotated[
    Literal["sm_80", "sm_90", "sm_100"],
    option("--gpu", metavar="ARCH", text="sm_80 (A100), sm_90 (H100, H200) or sm_100 (B200)."),
]


@training_options("tier")
def kernels(
    cases: CaseIds = None,
    expression: Expression = None,
    gpu: GPU = "sm_90",
    form: FloorsFormat = "table",
    module: Modules = None,
    **given: Any,
) -> None:
    """Show what torch's compiler makes of each `fast` training step on a GPU, without a GPU.

    Examples:
      cnnperf kernels -k "mnist and 28"
      cnnperf kernels vgg16-mnist-224-fast --gpu sm_80

    The code of the step is generated, but neither compiled nor run. Its kernels, and the bytes that
    they move, show what a new version of torch or a changed model costs. A model takes up to a
    minute.
    """
    from cnnperf.report.terminal.kernels import kernels_json, kernels_table
    from cnnperf.run.generated import choose_compiled, generated_steps

    with sentences():
        load_project(module)
        chosen = choose_compiled(cases or [], expression, given["tier"])
        with status("generating code ...") as show:
            found = generated_steps(chosen, gpu, module or [], show)
    if form == "json":
        typer.echo(inert_json(json.dumps(kernels_json(found, gpu), indent=2)))
    else:
        print_rich(kernels_table(found, gpu))
