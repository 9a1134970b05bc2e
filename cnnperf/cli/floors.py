"""The command `cnnperf floors`: how fast training could be here, and how near a record comes."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cnnperf.cli.options import Device, Expression, Modules, Tier, option
from cnnperf.errors import UsageError
from cnnperf.report.terminal.console import print_rich, sentences, status


class Form(StrEnum):
    """How floors are written."""

    TABLE = "table"
    JSON = "json"


CaseIds = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[CASE]...",
        help="Ids of cases (default: those of the records, else the tier's).",
        show_default=False,
    ),
]
Measured = Annotated[
    list[Path] | None,
    option(
        "--record",
        "-r",
        metavar="FILE",
        text="Set what was measured on this machine beside the floors; may be given again.",
    ),
]
FormOption = Annotated[
    Form, typer.Option("--format", "-f", help="How to write it.", show_default=True)
]
JsonFile = Annotated[
    Path | None,
    option("--output", "-o", metavar="FILE", text="Write the JSON into this file, too."),
]


def floors(
    cases: CaseIds = None,
    record: Measured = None,
    expression: Expression = None,
    tier: Tier = None,
    device: Device = None,
    module: Modules = None,
    form: FormOption = Form.TABLE,
    output: JsonFile = None,
) -> None:
    """Measure this device's ceilings, and say how fast it could train each case at best.

    Two floors: the case's FLOPs over the matmul peak, and the bytes that it must move over the
    bandwidth of a copy. Both ceilings are measured now; that takes up to a minute.
    """
    from cnnperf.catalog.registry import import_modules
    from cnnperf.report.terminal.floors import floors_json, floors_summary
    from cnnperf.run.floors_inputs import choose_cases, floors_of, look, read_recorded

    with sentences():
        import_modules(module or (), [str(Path.cwd())])
        recorded = read_recorded(record or [])
        chosen = choose_cases(cases or [], expression, recorded, tier=tier, device=device)
        with status("measuring what this device can do ..."):
            probed = look(chosen, device, module or [])
        found = floors_of(chosen, probed, recorded)
        text = json.dumps(floors_json(found, probed), indent=2)
        if output is not None:
            _write(output, text)
    if form is Form.JSON:
        typer.echo(text)
    else:
        print_rich(floors_summary(found, probed))


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror or error}") from error
