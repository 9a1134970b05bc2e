"""Options that several commands share, and what reads them.

Options of a training stay text here: `cnnperf.run.settings` reads and checks them, for these
commands and for `pytest benchmarks` alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from cnnperf.errors import UsageError
from cnnperf.report.formats.comparison import Format


def option(*names: str, text: str, metavar: str = "", **more: Any) -> Any:
    """Return a named option with its help; a switch has no metavar."""
    return typer.Option(*names, metavar=metavar, help=text, **more)


def import_user_modules(modules: Iterable[str] | None) -> None:
    """Import what --module names, so that its models, data sets and cases are registered.

    Raises:
        UsageError: a module cannot be imported.
    """
    if modules:
        from cnnperf.catalog.registry import import_modules

        import_modules(modules, [str(Path.cwd())], "--module")


def check_page(output: Path, is_page: Callable[[str], bool], fix: str) -> None:
    """Refuse to overwrite a file that is not a page, such as a record, before slow work starts.

    Args:
        output: the file to write; it need not exist.
        is_page: takes the beginning of the file and returns whether it may be overwritten.
        fix: the end of the sentence, from "is not" on.

    Raises:
        UsageError: the file is something else, is a folder, or cannot be read.
    """
    if output.is_dir():
        raise UsageError(f"{output} is a folder: name a file with -o")
    if not output.exists():
        return
    try:
        with output.open(encoding="utf-8", errors="replace") as file:
            head = file.read(2000)
    except OSError as error:
        raise UsageError(f"{output} cannot be read: {error.strerror or error}") from error
    if not is_page(head):
        raise UsageError(f"{output} exists and is not {fix}")


# --- of commands that judge -----------------------------------------------------------------------


class Difference(StrEnum):
    """What may differ between two sides."""

    HARDWARE = "hardware"
    SOFTWARE = "software"


Config = Annotated[
    Path | None,
    option(
        "--config",
        metavar="FILE",
        text="Read the thresholds from this TOML file. Default: ./cnnperf.toml, else the table "
        "tool.cnnperf in ./pyproject.toml.",
    ),
]
Output = Annotated[
    Path | None,
    option("--output", "-o", metavar="FILE", text="Write to FILE and print only the summary."),
]
FormatOption = Annotated[
    Format,
    option(
        "--format",
        "-f",
        metavar="FORMAT",
        text="table, markdown (for a step summary or a comment), github (annotations), junit or "
        "json.",
    ),
]
Strict = Annotated[bool, option("--strict", text="Exit with 4 if a regression is still possible.")]
Modules = Annotated[
    list[str] | None,
    option(
        "--module",
        "-m",
        metavar="MODULE",
        text="Import a module that registers your own models, data sets or cases. Repeatable.",
    ),
]
Across = Annotated[
    list[Difference] | None,
    option(
        "--across",
        metavar="WHAT",
        text="Compare even if the hardware, or the software (driver, CUDA, cuDNN, torch, Python), "
        "differs: WHAT is hardware or software. Repeatable.",
    ),
]
DropFlagged = Annotated[
    bool, option("--drop-flagged", text="Ignore repeats that other load on the machine disturbed.")
]
JudgeShortened = Annotated[
    bool,
    option("--judge-shortened", text="Also judge the speed of shortened trainings."),
]
CalibrationFile = Annotated[
    Path | None,
    option(
        "--calibration",
        metavar="FILE",
        text="Noise of the machine, measured by `cnnperf calibrate`. Default: the newest "
        "*.calibration.json of BASE's machine, next to BASE or one folder up.",
    ),
]
AsJson = Annotated[bool, option("--json", text="Print JSON instead of a table.")]

# --- of commands that train -----------------------------------------------------------------------

Expression = Annotated[
    str | None,
    option(
        "-k",
        metavar="EXPR",
        text="Only cases whose id matches, as with pytest's -k: 'vgg and not 224'.",
    ),
]
Tier = Annotated[
    str | None,
    option(
        "--tier",
        "-t",
        metavar="TIER",
        text="Which cases: smoke, standard, full, or auto (by the hardware). Default: auto.",
    ),
]
Device = Annotated[
    str | None,
    option(
        "--device",
        metavar="DEVICE",
        text="Where to train: cpu, cuda, mps, xpu or auto. Default: auto.",
    ),
]
Seed = Annotated[
    str | None, option("--seed", metavar="N", text="Seed of the first repeat. Default: 0.")
]
Epochs = Annotated[
    str | None, option("--epochs", metavar="N", text="Train N epochs instead of the recipe's.")
]
LimitSteps = Annotated[
    str | None,
    option(
        "--limit-steps",
        metavar="N",
        text="Stop each training after N steps. This measures speed, not accuracy.",
    ),
]
Compile = Annotated[
    str | None,
    option(
        "--compile",
        metavar="CHOICE",
        text="Whether the engine `fast` compiles the model: on, off or auto.",
    ),
]
PrecisionOption = Annotated[
    str | None,
    option(
        "--precision",
        metavar="CHOICE",
        text="Precision of the engine `fast`: float32, bfloat16 or auto.",
    ),
]
DataDir = Annotated[
    str | None,
    option(
        "--data-dir",
        metavar="DIR",
        text="Folder of the data sets. Default: $CNNPERF_DATA_DIR, else ~/.cache/cnnperf/data.",
    ),
]
Timeout = Annotated[
    str | None,
    option(
        "--timeout",
        metavar="SECONDS",
        text="End a training that has no result this long after its clock started.",
    ),
]
Deterministic = Annotated[
    bool,
    option(
        "--deterministic",
        text="Use deterministic algorithms, so that a seed always gives the same losses, and "
        "record the loss of each step.",
    ),
]
Out = Annotated[
    Path | None,
    option(
        "--out",
        metavar="DIR",
        text="Folder for both records, a.json and b.json. Default: .cnnperf/<command>-<time>.",
    ),
]
