"""The options of a run, for the commands that train: as those of `pytest benchmarks` are.

Text as it was given: `cnnperf.settings` reads both alike, and says what does not fit.
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
