"""The options of a run, for the commands that train: as those of `pytest benchmarks` are.

Text as it was given: `cnnperf.run.settings` reads both alike, and says what does not fit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def option(*names: str, metavar: str | None = None, text: str) -> Any:
    """A named option with its help."""
    return typer.Option(*names, metavar=metavar, help=text)


Expression = Annotated[
    str | None,
    option(
        "-k", metavar="EXPR", text="Only cases whose id fits, as pytest's -k: 'vgg and not 224'."
    ),
]
Tier = Annotated[
    str | None,
    option(
        "--tier", "-t", metavar="{auto,smoke,standard,full}", text="Which cases (default: auto)."
    ),
]
Device = Annotated[
    str | None,
    option("--device", metavar="{auto,cpu,cuda,mps,xpu}", text="Where to train (default: auto)."),
]
Seed = Annotated[
    str | None, option("--seed", metavar="N", text="Seed of the first repeat (default: 0).")
]
Epochs = Annotated[
    str | None, option("--epochs", metavar="N", text="Train N epochs instead of the recipe's.")
]
LimitSteps = Annotated[
    str | None,
    option("--limit-steps", metavar="N", text="Stop after N training steps: speed only."),
]
Compile = Annotated[
    str | None,
    option("--compile", metavar="{auto,on,off}", text="Whether the engine `fast` compiles."),
]
PrecisionOption = Annotated[
    str | None,
    option("--precision", metavar="{auto,float32,bfloat16}", text="Of the engine `fast`."),
]
DataDir = Annotated[
    str | None,
    option(
        "--data-dir",
        metavar="DIR",
        text="Where the data sets lie (default: $CNNPERF_DATA_DIR, else ~/.cache/cnnperf/data).",
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
Modules = Annotated[
    list[str] | None,
    option(
        "--module",
        "-m",
        metavar="MODULE",
        text="Import this module first, which registers models, data sets or cases of your own.",
    ),
]
Deterministic = Annotated[
    bool,
    option("--deterministic", text="A seed always gives the same losses; each step's is kept."),
]
Out = Annotated[
    Path | None,
    option("--out", metavar="DIR", text="Where both records go (default: .cnnperf/<time>)."),
]

# --- of `cnnperf ab` alone ----------------------------------------------------------------------

PythonA = Annotated[
    str | None, option("--a", metavar="PYTHON", text="What is known (default: this Python).")
]
PythonB = Annotated[
    str | None, option("--b", metavar="PYTHON", text="What is asked about (default: this).")
]
MaxRepeats = Annotated[
    int, typer.Option(min=1, max=1000, metavar="N", help="Of each case, on each side.")
]
MaxMinutes = Annotated[
    float | None,
    typer.Option(min=0, metavar="M", help="Start nothing more after so long (default: no end)."),
]
CalibrationHere = Annotated[
    Path | None,
    option(
        "--calibration",
        metavar="FILE",
        text="This machine's noise, by `cnnperf calibrate` (default: the newest "
        "*.calibration.json of this machine in reports/, .cnnperf/, here, or where the records "
        "go and one folder up).",
    ),
]

# --- of `cnnperf calibrate` alone ---------------------------------------------------------------

MoreRecords = Annotated[
    list[Path] | None,
    typer.Argument(metavar="[RECORD]...", help="With --from: more records.", show_default=False),
]
FirstRecords = Annotated[
    list[Path] | None,
    option(
        "--from",
        metavar="RECORD",
        text="Train nothing: take the repeats of this record, and of those after it.",
    ),
]
CalibrationRepeats = Annotated[
    int, typer.Option(min=2, max=1000, metavar="N", help="Of each case, on each of two sides.")
]
CalibrationMinutes = Annotated[
    str | None,
    option(
        "--max-minutes",
        metavar="M",
        text="Be over after so long, with exit code 75 and the command that goes on, where not "
        "all is done (default: no end).",
    ),
]
ResumeFolder = Annotated[
    Path | None,
    option(
        "--resume",
        metavar="DIR",
        text="Go on with what was stopped there: the folder that --out named, or the default.",
    ),
]
Python = Annotated[
    str | None, option("--python", metavar="PYTHON", text="Which Python (default: this one).")
]
CalibrationOutput = Annotated[
    Path | None,
    option(
        "--output",
        "-o",
        metavar="FILE",
        text="The calibration (default: named after the machine, in reports/, else .cnnperf/).",
    ),
]
