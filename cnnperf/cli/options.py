"""Options that several commands share, and what reads them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from enum import StrEnum
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from cnnperf.errors import UsageError
from cnnperf.report.formats.comparison import Format
from cnnperf.run.settings import OPTIONS, Option

Command = TypeVar("Command", bound=Callable[..., None])


def option(*names: str, text: str, metavar: str = "", **more: Any) -> Any:
    """Return a named option with its help; a switch has no metavar."""
    return typer.Option(*names, metavar=metavar, help=text, **more)


def training_options(*names: str) -> Callable[[Command], Command]:
    """Add options of a run, such as --tier, to a command.

    `cnnperf.run.settings` describes them once, for these commands and for pytest. The command gets
    them in its `**given` as text, which `settings_from` reads, or as True for a switch.
    """

    def add(command: Command) -> Command:
        signature = inspect.signature(command, eval_str=True)
        own = [each for each in signature.parameters.values() if each.kind != Parameter.VAR_KEYWORD]
        added = [_training_option(each) for each in OPTIONS if each.name in names]
        parameters = [*own, *added]
        command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {each.name: each.annotation for each in parameters}
        return command

    return add


def _training_option(spec: Option) -> Parameter:
    flags = [f"--{spec.name.replace('_', '-')}", *(["-t"] if spec.name == "tier" else [])]
    text = f"{spec.help[0].upper()}{spec.help[1:]}."
    kind: Any = bool if spec.is_switch else list[str] if spec.is_list else str
    word = spec.metavar or ""
    if word.startswith("{"):  # too wide for a command's help, which names the words anyway
        word = spec.name.upper()
    return Parameter(
        spec.name,
        Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[kind | None, option(*flags, text=text, metavar=word)],
    )


def import_user_modules(modules: Iterable[str] | None) -> None:
    """Import what --module names, so that its models, data sets and cases are registered.

    Raises:
        UsageError: a module cannot be imported.
    """
    if modules:
        from cnnperf.catalog.registry import import_modules

        import_modules(modules, [str(Path.cwd())], "--module")


def load_project(modules: Iterable[str] | None) -> None:
    """Register the user's cases as pytest would find them here, and those of --module.

    Raises:
        UsageError: a module cannot be imported, or a table in TOML is wrong.
    """
    from cnnperf.run.project import find_project

    find_project(Path.cwd(), modules or ()).register("--module" if modules else "cnnperf_modules")


def check_page(output: Path, is_page: Callable[[str], bool], fix: str) -> None:
    """Refuse to overwrite a file that is not a page, such as a record, before slow work starts.

    `is_page` gets the beginning of the file; `fix` ends the sentence, from "is not" on.

    Raises:
        UsageError: the file is something else, or cannot be read.
    """
    if not output.is_file():
        return  # new, or a pipe, which may never bring anything to read
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
Force = Annotated[
    bool, option("--force", text="Write to FILE even if it holds a record, which is then lost.")
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
MoreBase = Annotated[
    list[Path] | None,
    option("--base", metavar="FILE", text="Add the cases and repeats of FILE to BASE. Repeatable."),
]
MoreNew = Annotated[
    list[Path] | None,
    option("--new", metavar="FILE", text="Add the cases and repeats of FILE to NEW. Repeatable."),
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
All = Annotated[
    bool,
    option(
        "--all",
        text="Show all cases. Without it, a table and Markdown of more than 50 cases leave out "
        "those without a change, and a page what does not fit into 10 MB.",
    ),
]
AsJson = Annotated[bool, option("--json", text="Print JSON instead of a table.")]

# --- of commands that train -----------------------------------------------------------------------

MATCHING = "Only cases whose id matches, as with pytest's -k: 'vgg and not 224'."

Expression = Annotated[str | None, option("-k", metavar="EXPR", text=MATCHING)]
Out = Annotated[
    Path | None,
    option(
        "--out",
        metavar="DIR",
        text="Folder for both records, a.json and b.json. Default: .cnnperf/<command>-<time>.",
    ),
]
