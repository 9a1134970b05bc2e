"""The options of a run: described once, resolved once into a frozen object.

`pytest benchmarks` has all of them, and `cnnperf ab`, `calibrate`, `floors` and `data` have some.
The command line wins, then the ini file, then the default. Every pytest run and every command
loads this module, so it imports nothing large.
"""

from __future__ import annotations

import argparse
import os
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from cnnperf.errors import UsageError

if TYPE_CHECKING:
    import pytest

    from cnnperf.catalog.specs import Choice, Precision, Scaling, Tier
    from cnnperf.compare.verdicts import Across
    from cnnperf.record.messages import Device

TierChoice = Literal["auto", "smoke", "standard", "full"]


def number(kind: type[int] | type[float], expected: str, fits: Callable[[Any], bool]) -> Any:
    """Return a parser of numbers; `expected` describes the numbers that fit."""

    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not fits(value):
            raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")
        return value

    return parse


def interpreter(text: str) -> str:
    """Parse a command or a path of an interpreter; `./python` stays a path."""
    return str(path(text).absolute()) if os.sep in text else text


def path(text: str) -> Path:
    """Parse a path, with `~` for the home folder."""
    return Path(text).expanduser()


def devices(text: str) -> tuple[int, ...]:
    """Parse numbers of devices, such as `1,2,4`."""
    found = tuple(positive_int(part) for part in text.split(","))
    return tuple(dict.fromkeys(found))


positive_int = number(int, "a whole number, 1 or more", lambda value: value >= 1)
seed = number(int, "a whole number from 0 to 2147483648", lambda value: 0 <= value <= 2**31)
"""The limit leaves room for the seeds of later repeats, which must fit 32 bits."""
seconds = number(float, "a number of seconds above 0", lambda value: 0 < value < 1e9)
minutes = number(float, "a number of minutes above 0", lambda value: 0 < value < 1e7)


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option of a run."""

    name: str
    """`data_dir` is --cnnperf-data-dir, the ini key cnnperf_data_dir and --data-dir."""
    help: str
    metavar: str | None = None
    parse: Callable[[str], Any] = str
    default: Any = None

    @property
    def flag(self) -> str:
        """The option on the command line."""
        return "--cnnperf-" + self.name.replace("_", "-")

    @property
    def key(self) -> str:
        """The ini key, which is also the name among pytest's options."""
        return f"cnnperf_{self.name}"

    @property
    def is_switch(self) -> bool:
        """Whether it takes no value."""
        return self.default is False

    @property
    def is_list(self) -> bool:
        """Whether it may be given several times."""
        return isinstance(self.default, tuple)


def one_of_words(name: str, *words: str, text: str, default: Any = "auto") -> Option:
    """Return an option that accepts these words."""

    def parse(text: str) -> str:
        if text not in words:
            raise argparse.ArgumentTypeError(f"expected one of {', '.join(words)}, got {text!r}")
        return text

    metavar = f"{{{','.join(words)}}}"
    return Option(name=name, help=text, metavar=metavar, parse=parse, default=default)


OPTIONS = (
    one_of_words(
        "tier", "auto", "smoke", "standard", "full",
        text="which cases run: smoke (minutes on two CPU cores, no download), standard (the "
        "study), full (everything); auto is standard if a GPU is found, else smoke",
    ),
    one_of_words(
        "device", "auto", "cpu", "cuda", "mps", "xpu",
        text="where to train: cpu, cuda, mps, xpu, or auto, the best device that torch can use",
    ),
    Option(
        name="repeats", metavar="N", parse=positive_int,
        help="trainings of each case, each with another seed (default: 1 in smoke, else 3)",
    ),
    Option(
        name="seed", metavar="N", parse=seed, default=0,
        help="seed of the first repeat; repeat i has seed N + i (default: 0)",
    ),
    Option(
        name="epochs", metavar="N", parse=positive_int,
        help="train N epochs instead of the recipe's; the record is marked as shortened",
    ),
    Option(
        name="limit_steps", metavar="N", parse=positive_int,
        help="stop after N training steps: measures throughput, not accuracy; the record is marked "
        "as shortened",
    ),
    Option(
        name="set", metavar="FIELD=VALUE", default=(),
        help="change a field of every case, such as recipe.batch_size=256 or workers=4; may be "
        "given several times",
    ),
    Option(
        name="devices", metavar="N,N", parse=devices,
        help="train each case on so many devices together, a process each, such as 1,2,4",
    ),
    one_of_words(
        "scaling", "strong", "weak", default="strong",
        text="what several devices of --cnnperf-devices do with the recipe's batch: strong divides "
        "it among them, weak gives it to each",
    ),
    one_of_words(
        "compile", "auto", "on", "off",
        text="whether engine fast compiles: on, off or auto, which compiles on CUDA, and on a CPU "
        "if a trial is faster, and goes on without where compiling fails",
    ),
    one_of_words(
        "precision", "auto", "float32", "bfloat16",
        text="precision of engine fast: float32, bfloat16, or auto, which uses bfloat16 if a trial "
        "is faster",
    ),
    Option(
        name="allow_fallback", default=False,
        help="keep training a case whose engine fast fell back on CUDA (not compiled, not "
        "captured, no bfloat16); without it, such a case fails after its first training",
    ),
    Option(
        name="deterministic", default=False,
        help="train deterministically, in float32 and not compiled, and record the loss of every "
        "step, so that `cnnperf compare` finds the first that differs; slower",
    ),
    Option(
        name="check_numerics", default=False,
        help="before its repeats, train each case twice for a few steps, deterministically: "
        "`cnnperf fleet judge` finds devices that compute wrongly",
    ),
    Option(
        name="anonymous", default=False,
        help="write no name of the host or the user: the record and the journal get a hash of the "
        "host's name, and ~ for home folders",
    ),
    Option(
        name="data_dir", metavar="DIR", parse=path,
        help="folder of the data sets (default: $CNNPERF_DATA_DIR, else ~/.cache/cnnperf/data)",
    ),
    Option(
        name="require_data", default=False,
        help="fail the cases whose data set is missing, instead of skipping them",
    ),
    Option(
        name="timeout", metavar="SECONDS", parse=seconds,
        help="end a repeat that has no result SECONDS after its clock started (default: no limit)",
    ),
    Option(
        name="max_minutes", metavar="M", parse=minutes,
        help="finish within M minutes and print the command that continues; exit code 75",
    ),
    Option(
        name="resume", metavar="JOURNAL", parse=path,
        help="take the finished repeats of a stopped run from its journal and train the rest",
    ),
    Option(
        name="profile", metavar="DIR", parse=path,
        help="profile a few steps after each repeat: traces in DIR, time by kind of work in the "
        "record",
    ),
    Option(
        name="baseline", metavar="FILE", parse=path,
        help="compare this run with an earlier record: show the verdicts, exit 1 on a regression",
    ),
    one_of_words(
        "across", "hardware", "software", default=(),
        text="compare with the baseline although the hardware or software (driver, CUDA, cuDNN, "
        "torch, Python) differs; may be given twice",
    ),
    Option(
        name="python", metavar="PATH", parse=interpreter,
        help="interpreter that trains (default: this one)",
    ),
)  # fmt: skip

MODULES_KEY = "cnnperf_modules"
MODULES_HELP = "modules to import that register your models, data sets and cases"
BUILTIN_KEY = "cnnperf_builtin_cases"
BUILTIN_HELP = "whether cnnperf's own cases run too: true (default) or false"


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """The options of a run, plus the user's modules and where to find them."""

    tier: TierChoice
    device: Device
    repeats: int | None
    seed: int
    epochs: int | None
    limit_steps: int | None
    set: tuple[str, ...]
    devices: tuple[int, ...] | None
    scaling: Scaling
    compile: Choice
    precision: Literal["auto"] | Precision
    allow_fallback: bool
    deterministic: bool
    check_numerics: bool
    anonymous: bool
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
        """Whether the options change the recipes."""
        return self.epochs is not None or self.limit_steps is not None

    def repeats_in(self, tier: Tier) -> int:
        """Return the number of trainings of each case."""
        return self.repeats or (1 if tier == "smoke" else 3)


def add_options(parser: pytest.Parser) -> None:
    """Declare every option to pytest."""
    group = parser.getgroup("cnnperf", "cnnperf: benchmarks of CNN training")
    for option in OPTIONS:
        if option.is_switch:
            group.addoption(option.flag, action="store_true", default=None, help=option.help)
            parser.addini(option.key, option.help, type="bool", default=False)
            continue
        action = "append" if option.is_list else "store"
        kind: Literal["args", "string"] = "args" if option.is_list else "string"
        more: dict[str, Any] = {"metavar": option.metavar, "type": option.parse}
        group.addoption(option.flag, action=action, help=option.help, **more)
        parser.addini(option.key, option.help, type=kind)
    parser.addini(MODULES_KEY, MODULES_HELP, type="args", default=[])
    parser.addini(BUILTIN_KEY, BUILTIN_HELP, type="bool", default=True)


def resolve(config: pytest.Config) -> RunSettings:
    """Return the settings of a pytest run.

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
        modules=tuple(_texts(config, MODULES_KEY)),
        python_path=tuple(dict.fromkeys([root, *python_path])),
    )


def settings_from(given: Mapping[str, Any], modules: Iterable[str], **more: Any) -> RunSettings:
    """Return the settings of a run outside pytest.

    Args:
        given: text as on the command line, a list of texts, or a switch, by option name; None is
            the default.
        modules: the user's modules, beside those of pytest's ini file.
        more: values that need no parsing; they win.

    Raises:
        UsageError: a text does not fit; the message names the option without `cnnperf-`.
    """
    from cnnperf.catalog.datasets import default_data_dir
    from cnnperf.run.project import find_project

    values: dict[str, Any] = {option.name: option.default for option in OPTIONS}
    for option in OPTIONS:
        text = given.get(option.name)
        if text is None:
            continue
        try:
            if option.is_list:
                values[option.name] = tuple(map(option.parse, text or ()))
            else:
                values[option.name] = text if isinstance(text, bool) else option.parse(text)
        except argparse.ArgumentTypeError as error:
            flag = option.flag.replace("cnnperf-", "")
            raise UsageError(f"{flag}: {error}") from None
    values["data_dir"] = (values["data_dir"] or default_data_dir()).absolute()
    project = find_project(Path.cwd(), modules)
    values |= {"modules": project.modules, "python_path": project.python_path}
    return RunSettings(**{**values, **more})


def _value(config: pytest.Config, option: Option) -> Any:
    given = config.getoption(option.key)
    if given is not None:
        return tuple(given) if option.is_list else given
    if option.is_list:
        return tuple(_parsed(config, option, each) for each in _texts(config, option.key))
    ini = _ini(config, option.key)
    if option.is_switch:
        if not isinstance(ini, bool):
            _wrong_type(config, option.key, "true or false", ini)
        return ini
    if ini in ("", None):
        return option.default
    value = _parsed(config, option, os.path.expandvars(str(ini)))
    if not isinstance(ini, str) and not isinstance(value, int | float):
        _wrong_type(config, option.key, "a string", ini)
    if isinstance(value, Path) and config.inipath is not None:
        return config.inipath.parent / value
    return value


def _texts(config: pytest.Config, key: str) -> list[str]:
    ini = _ini(config, key)
    if isinstance(ini, list) and all(isinstance(each, str) for each in ini):
        return ini
    return _wrong_type(config, key, "a list of strings", ini)


def _ini(config: pytest.Config, key: str) -> Any:
    """Return an ini value; of `[tool.pytest]`, also a type that pytest did not expect.

    pytest 9 checks those strictly, and not all of its versions know a key with two types.
    """
    import pytest

    try:
        return config.getini(key)
    except (TypeError, ValueError, pytest.UsageError) as error:
        if config.inipath is not None and config.inipath.suffix == ".toml":
            document = tomllib.loads(config.inipath.read_text("utf-8"))
            table = document.get("tool", {}).get("pytest", {}) | document.get("pytest", {})
            if key in table:
                return table[key]
        raise pytest.UsageError(f"{key} in {config.inipath}: {error}") from None


def _wrong_type(config: pytest.Config, key: str, expected: str, found: object) -> NoReturn:
    import pytest

    raise pytest.UsageError(f"{key} in {config.inipath}: expected {expected}, got {found!r}")


def _parsed(config: pytest.Config, option: Option, text: str) -> Any:
    import pytest

    try:
        return option.parse(text)
    except argparse.ArgumentTypeError as error:
        raise pytest.UsageError(f"{option.key} in {config.inipath}: {error}") from None
