"""The command `cnnperf floors`: how fast training could be on this device."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cnnperf.cli.options import Device, Expression, Modules, Tier, import_user_modules, option
from cnnperf.report.formats.comparison import write_text
from cnnperf.report.terminal.console import print_rich, sentences, status


class Form(StrEnum):
    """How floors are printed."""

    TABLE = "table"
    JSON = "json"


def floors(
    cases: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CASE",
            help="Ids of cases. Default: those of the records, else those of the tier.",
            show_default=False,
        ),
    ] = None,
    record: Annotated[
        list[Path] | None,
        option(
            "--record",
            "-r",
            metavar="FILE",
            text="Show the times in this record, measured on this machine, next to the floors. "
            "Repeatable.",
        ),
    ] = None,
    expression: Expression = None,
    tier: Tier = None,
    device: Device = None,
    form: Annotated[Form, option("--format", "-f", metavar="FORMAT", text="table or json.")] = (
        Form.TABLE
    ),
    output: Annotated[
        Path | None,
        option("--output", "-o", metavar="FILE", text="Also write the JSON to FILE."),
    ] = None,
    module: Modules = None,
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
        import_user_modules(module)
        recorded = read_recorded(record or [])
        chosen = choose_cases(cases or [], expression, recorded, tier=tier, device=device)
        with status("measuring what this device can do ..."):
            probed = look(chosen, device, module or [])
        found = floors_of(chosen, probed, recorded)
        text = json.dumps(floors_json(found, probed), indent=2)
        if output is not None:
            write_text(output, text + "\n")
    if form is Form.JSON:
        typer.echo(text)
    else:
        print_rich(floors_summary(found, probed))
