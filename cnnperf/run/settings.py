"""The options of a run: described once, resolved once, frozen.

Each has a command-line form and an ini key; the command line wins, then the ini file, then the
default. Torch-free.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import pytest

from cnnperf.errors import UsageError

if TYPE_CHECKING:  # this module loads in every pytest run, so it loads nothing that is large
    from cnnperf.catalog.specs import Choice, Precision, Tier
    from cnnperf.compare.rules import Across
    from cnnperf.record.messages import Device

N = TypeVar("N", int, float)

TierChoice = Literal["auto", "smoke", "standard", "full"]


def positive_int(text: str) -> int:
    """A whole number from 1 on."""
    return _number(text, int, "a whole number, 1 or more", lambda value: value >= 1)


def seed(text: str) -> int:
    """A whole number from 0 to 2**31, so that every repeat's seed still fits 32 bits."""
    return _number(text, int, "a whole number from 0 to 2147483648", lambda v: 0 <= v <= 2**31)


def seconds(text: str) -> float:
    """A number of seconds above 0."""
    return _number(text, float, "a number of seconds above 0", lambda value: 0 < value < 1e9)


def minutes(text: str) -> float:
    """A number of minutes above 0."""
    return _number(text, float, "a number of minutes above 0", lambda value: 0 < value < 1e7)


def _number(text: str, kind: Callable[[str], N], expected: str, fits: Callable[[N], bool]) -> N:
    try:
        value = kind(text)
        fitting = fits(value)
    except ValueError:
        fitting = False
    if not fitting:
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")
    return value


def choice(*possible: str) -> Callable[[str], str]:
    """One of some words."""

    def check(text: str) -> str:
        if text not in possible:
            raise argparse.ArgumentTypeError(f"expected one of {', '.join(possible)}, got {text!r}")
        return text

    return check


def interpreter(text: str) -> str:
    """A command or a path of an interpreter; `./python` must not become a command."""
    return str(path(text).absolute()) if os.sep in text else text


def path(text: str) -> Path:
    """A path, with `~` for the home folder."""
    return Path(text).expanduser()


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option of the plugin."""

    name: str
    """With underscores: `tier` is --cnnperf-tier and the ini key cnnperf_tier."""
    help: str
    metavar: str | None = None
    parse: Callable[[str], Any] = str
    default: Any = None

    @property
    def flag(self) -> str:
        """Its form on the command line."""
        return "--cnnperf-" + self.name.replace("_", "-")

    @property
    def key(self) -> str:
        """Its ini key, and its place among pytest's options."""
        return f"cnnperf_{self.name}"

    @property
    def is_switch(self) -> bool:
        """Whether it takes no value."""
        return self.default is False

    @property
    def is_list(self) -> bool:
        """Whether it may be given several times."""
        return isinstance(self.default, tuple)


OPTIONS = (
    Option(
        name="tier", metavar="{auto,smoke,standard,full}", default="auto",
        parse=choice("auto", "smoke", "standard", "full"),
        help="which cases run: smoke (minutes on two CPU cores, no download), standard (the report "
        "in full), full (everything); auto is standard where an accelerator is found, else smoke",
    ),
    Option(
        name="device", metavar="{auto,cpu,cuda,mps,xpu}", default="auto",
        parse=choice("auto", "cpu", "cuda", "mps", "xpu"),
        help="where to train; auto takes the best that torch can use",
    ),
    Option(
        name="repeats", metavar="N", parse=positive_int,
        help="trainings of each case, each in a process of its own with its own seed "
        "(default: 1 in smoke, 3 in standard and full)",
    ),
    Option(
        name="seed", metavar="N", parse=seed, default=0,
        help="seed of the first repeat; repeat i has seed N + i (default: 0)",
    ),
    Option(
        name="epochs", metavar="N", parse=positive_int,
        help="train N epochs instead of the recipe's; marks the record as shortened",
    ),
    Option(
        name="limit_steps", metavar="N", parse=positive_int,
        help="stop after N training steps: throughput only, no accuracy; marks the record as "
        "shortened",
    ),
    Option(
        name="compile", metavar="{auto,on,off}", default="auto", parse=choice("auto", "on", "off"),
        help="whether the engine `fast` compiles: auto does on CUDA, and on a CPU where a trial "
        "says that it pays; where it fails, auto goes on without and warns, on fails the case",
    ),
    Option(
        name="precision", metavar="{auto,float32,bfloat16}", default="auto",
        parse=choice("auto", "float32", "bfloat16"),
        help="of the engine `fast`: auto takes bfloat16 where a trial says that it is faster",
    ),
    Option(
        name="deterministic", default=False,
        help="train so that a seed always gives the same losses, and keep the loss of every step, "
        "for `cnnperf compare` to find where two records part; slower, and what is `auto` of the "
        "engine `fast` is then float32 and not compiled, since a stopwatch would decide it",
    ),
    Option(
        name="data_dir", metavar="DIR", parse=path,
        help="where the data sets lie (default: $CNNPERF_DATA_DIR, else ~/.cache/cnnperf/data)",
    ),
    Option(
        name="require_data", default=False,
        help="fail, instead of skip, cases whose data set is not there",
    ),
    Option(
        name="timeout", metavar="SECONDS", parse=seconds,
        help="end a repeat that has no result this long after its clock started; starting may take "
        "as long, and 5 minutes at the least (default: no limit)",
    ),
    Option(
        name="max_minutes", metavar="M", parse=minutes,
        help="be over after M minutes: start no training that is expected to end later, end one "
        "that has not by then, and say how to go on; exit code 75 (default: no limit)",
    ),
    Option(
        name="resume", metavar="JOURNAL", parse=path,
        help="take over the repeats that a stopped run left in its journal, train the rest",
    ),
    Option(
        name="profile", metavar="DIR", parse=path,
        help="after each repeat's timed part, profile a few steps: a trace for TensorBoard or "
        "Perfetto into DIR, time by kind of work into the record",
    ),
    Option(
        name="baseline", metavar="FILE", parse=path,
        help="hold this run to an earlier record: show the verdicts, exit 1 on a regression",
    ),
    Option(
        name="across", metavar="{hardware,software}", default=(),
        parse=choice("hardware", "software"),
        help="hold it to the baseline although hardware or software (driver, CUDA, cuDNN, torch, "
        "Python) differ, since that is the question; may be given twice",
    ),
    Option(
        name="python", metavar="PATH", parse=interpreter,
        help="interpreter that trains (default: the one that runs pytest)",
    ),
)  # fmt: skip

MODULES_KEY = "cnnperf_modules"
MODULES_HELP = "modules to import, which register models, data sets and cases of your own"


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What was asked for."""

    tier: TierChoice
    device: Device
    repeats: int | None
    seed: int
    epochs: int | None
    limit_steps: int | None
    compile: Choice
    precision: Literal["auto"] | Precision
    deterministic: bool
    data_dir: Path
    require_data: bool
    timeout: float | None
    max_minutes: float | None
    resume: Path | None
    profile: Path | None
    baseline: Path | None
    across: tuple[Across, ...]
    python: str | None
    modules: tuple[str, ...]
    python_path: tuple[str, ...]

    @property
    def shortened(self) -> bool:
        """Whether the recipe is not trained as it stands."""
        return self.epochs is not None or self.limit_steps is not None

    def repeats_in(self, tier: Tier) -> int:
        """Trainings of each case."""
        return self.repeats or (1 if tier == "smoke" else 3)


def add_options(parser: pytest.Parser) -> None:
    """Declare every option to pytest."""
    group = parser.getgroup("cnnperf", "cnnperf: benchmarks of CNN training")
    for option in OPTIONS:
        if option.is_switch:
            group.addoption(option.flag, action="store_true", default=None, help=option.help)
            parser.addini(option.key, option.help, type="bool", default=False)
        elif option.is_list:
            group.addoption(
                option.flag, metavar=option.metavar, type=option.parse, action="append",
                help=option.help,
            )  # fmt: skip
            parser.addini(option.key, option.help, type="args", default=[])
        else:
            group.addoption(
                option.flag, metavar=option.metavar, type=option.parse, help=option.help
            )
            parser.addini(option.key, option.help)
    parser.addini(MODULES_KEY, MODULES_HELP, type="args", default=[])


def resolve(config: pytest.Config) -> RunSettings:
    """The settings in force: command line, then ini file, then default.

    Raises:
        pytest.UsageError: an ini value does not fit.
    """
    from cnnperf.catalog.datasets import default_data_dir

    values = {option.name: _value(config, option) for option in OPTIONS}
    values["data_dir"] = values["data_dir"] or default_data_dir()
    for name in ("data_dir", "resume", "profile", "baseline"):
        values[name] = values[name] and values[name].absolute()
    root = str(config.rootpath)
    python_path = [str(path) for path in config.getini("pythonpath")]
    return RunSettings(
        **values,
        modules=tuple(config.getini(MODULES_KEY)),
        python_path=tuple(dict.fromkeys([root, *python_path])),
    )


def settings_from(
    given: Mapping[str, str | bool | None], modules: Iterable[str], **more: Any
) -> RunSettings:
    """The settings of a run that pytest does not run; what was not given has its default.

    Args:
        given: text as on the command line, by option name; None is not given.
        modules: the user's modules, below the present folder.
        more: settings that are known already, and win.

    Raises:
        UsageError: a text does not fit; its option stands there without `cnnperf-`.
    """
    from cnnperf.catalog.datasets import default_data_dir

    values: dict[str, Any] = {option.name: option.default for option in OPTIONS}
    for option in OPTIONS:
        text = given.get(option.name)
        if text is None:
            continue
        try:
            values[option.name] = text if isinstance(text, bool) else option.parse(text)
        except argparse.ArgumentTypeError as error:
            flag = option.flag.replace("cnnperf-", "")
            raise UsageError(f"{flag}: {error}") from None
    values["data_dir"] = (values["data_dir"] or default_data_dir()).absolute()
    return RunSettings(**{**values, **more}, modules=tuple(modules), python_path=(str(Path.cwd()),))


def _value(config: pytest.Config, option: Option) -> Any:
    given = config.getoption(option.key)
    if given is not None:
        return tuple(given) if option.is_list else given
    ini = config.getini(option.key)
    if option.is_switch:
        return ini
    if option.is_list:
        return tuple(_parsed(config, option, each) for each in ini)
    if not ini:
        return option.default
    value = _parsed(config, option, os.path.expandvars(ini))
    if isinstance(value, Path) and config.inipath is not None:
        return config.inipath.parent / value
    return value


def _parsed(config: pytest.Config, option: Option, text: str) -> Any:
    """An ini value.

    Raises:
        pytest.UsageError: it does not fit.
    """
    try:
        return option.parse(text)
    except argparse.ArgumentTypeError as error:
        raise pytest.UsageError(f"{option.key} in {config.inipath}: {error}") from None
