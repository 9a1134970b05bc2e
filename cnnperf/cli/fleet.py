"""The commands of `cnnperf fleet`: which of many devices is slow, or computes wrongly?"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cnnperf.cli.options import All, Force, Output, Strict, option
from cnnperf.cli.report import packages
from cnnperf.errors import UsageError, one_of, printable
from cnnperf.record.writing import check_output, write_file
from cnnperf.report.terminal.console import print_rich, sentences, status

if TYPE_CHECKING:
    from cnnperf.compare.fleet.verdicts import Fleet


class FleetFormat(StrEnum):
    """The format of a judged fleet."""

    TABLE = "table"
    MARKDOWN = "markdown"
    JUNIT = "junit"
    JSON = "json"
    HTML = "html"


Metric = Annotated[
    str, option("--metric", metavar="NAME", text="Rate or time by which devices are judged.")
]


FleetFolder = Annotated[
    Path,
    typer.Argument(
        metavar="FOLDER",
        help="Folder with a record a device, named as the device.",
        show_default=False,
    ),
]

Labels = Annotated[
    Path | None,
    option(
        "--labels",
        metavar="FILE",
        text="CSV with a column device, and others such as host and rack: what slow devices "
        "have in common is named.",
    ),
]

Threshold = Annotated[
    float,
    option(
        "--threshold",
        metavar="SHARE",
        text="Smallest change that counts: 0.01 is 1 %.",
        min=0.0,
        max=0.5,
    ),
]

Rate = Annotated[
    float,
    option(
        "--false-discovery-rate",
        metavar="SHARE",
        text="Largest expected share of healthy devices among those called slow.",
        min=0.0001,
        max=0.5,
    ),
]

Anonymous = Annotated[
    bool, option("--anonymous", text="Show hashes instead of the names of hosts.")
]

Format = Annotated[
    FleetFormat,
    option("--format", metavar="FORMAT", text="table, markdown, junit, json or html."),
]


def judge(
    folder: FleetFolder,
    labels: Labels = None,
    metric: Metric = "images_per_second",
    threshold: Threshold = 0.01,
    rate: Rate = 0.05,
    strict: Strict = False,
    anonymous: Anonymous = False,
    form: Format = FleetFormat.TABLE,
    output: Output = None,
    force: Force = False,
    everything: All = False,
) -> None:
    """Judge every device of a fleet by its peers: slow, fast, wrong, failed or normal.

    Examples:
      cnnperf fleet judge reports/cluster/
      cnnperf fleet judge reports/cluster/ --format html -o fleet.html
      cnnperf fleet judge reports/cluster/ --labels racks.csv --format junit -o fleet.xml

    Devices of one kind are compared: the same GPU or CPU, torch, case and data. Deterministic
    trainings are also compared by the loss of each step: a device that differs computes wrongly.

    Exit codes:
      0    no device is slow, wrong or failed, and no host slow
      1    one is
      2    bad usage
      4    a device is undecided (only with --strict)
    """
    from cnnperf.compare.fleet.devices import load_devices
    from cnnperf.compare.fleet.judge import FleetRules, judge_fleet

    with sentences():
        _check_metric(metric)
        check_output(output, force=force)
        with status("reading records ...") as progress:
            devices = load_devices(folder, labels, is_anonymous=anonymous, progress=progress)
        rules = FleetRules(
            metric=metric, threshold=threshold, false_discovery_rate=rate, strict=strict
        )
        judged = judge_fleet(devices, rules)
        _show(judged, form, output, everything=everything)
    raise typer.Exit(judged.exit_code)


def _show(judged: Fleet, form: FleetFormat, output: Path | None, *, everything: bool) -> None:
    from cnnperf.report.formats.fleet import as_text
    from cnnperf.report.terminal.fleet import fleet_summary

    if form is FleetFormat.TABLE and output is None:
        print_rich(fleet_summary(judged, everything=everything))
        return
    with packages(), status("writing ..."):
        text = as_text(judged, form.value, everything=everything)
    if output is None:
        typer.echo(text.encode() if form is FleetFormat.HTML else text, nl=False)
    else:
        write_file(output, text)
        typer.echo(printable(judged.summary))


def place(
    record: Annotated[
        Path, typer.Argument(metavar="RECORD", help="Record of one device.", show_default=False)
    ],
    reference: Annotated[
        Path,
        option(
            "--reference",
            metavar="FOLDER",
            text="Folder with a record a device.",
            show_default=False,
        ),
    ],
    metric: Metric = "images_per_second",
) -> None:
    """Say which share of a fleet's devices is slower than one device.

    Examples:
      cnnperf fleet place rented.json --reference reports/h100s/
    """
    from rich.text import Text

    from cnnperf.compare.fleet.devices import load_device, load_devices
    from cnnperf.compare.fleet.judge import FleetRules
    from cnnperf.compare.fleet.place import place_device
    from cnnperf.report.terminal.fleet import placement_line

    with sentences():
        _check_metric(metric)
        with status("reading records ...") as progress:
            device = load_device(record)
            known = load_devices(reference, progress=progress)
            others = [each for each in known if each.record != device.record]
        for each in place_device(device, others, FleetRules(metric=metric)):
            print_rich(Text(placement_line(each)))


def _check_metric(name: str) -> None:
    from cnnperf.compare.thresholds import JUDGED

    possible = [metric for metric, judged in JUDGED.items() if judged.by_ratio]
    if name not in possible:
        raise UsageError(f"--metric: {one_of('metric', name, possible)}")
