"""Define errors that the user can fix: one sentence, shown without a traceback."""

from __future__ import annotations

import difflib
import importlib
import os
import re
import reprlib
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

EXIT_INTERNAL = 70
"""Exit code of a command after an error of cnnperf itself (EX_SOFTWARE of sysexits.h)."""

TRACEBACK = "CNNPERF_TRACEBACK"
"""Environment variable; if it is set, an error of cnnperf itself is shown with its traceback."""


class UsageError(ValueError):
    """A request that cannot be met. The message says what is wrong, where, and how to fix it."""


class DataError(UsageError):
    """A data set that is missing, damaged, or different from its description."""


class NotInstalledError(UsageError):
    """A required package that is missing or broken."""


class CommandError(UsageError):
    """A command of the user's that could not be started, or failed."""

    def __init__(self, message: str, output: str = "", kind: str = "exception") -> None:
        super().__init__(message)
        self.output = output
        """The end of what it printed."""
        self.kind = kind
        """A cause, as `cnnperf.record.schema.ErrorKind` names them."""


class NaNLossError(ArithmeticError):
    """A loss, or another figure of a training, is not a finite number."""


COMMAND = re.compile(
    r"(?<!\w):(?=:)"
    r"|:(?=:(?:error|warning|notice|debug|group|endgroup|echo|stop-commands|[a-z]+-mask|[a-z]+-path"
    r"|[a-z]+-matcher|set-env|set-output|save-state)\b)"
    r"|#(?=#(?:\[|vso\[|teamcity\[))"
    r"|section(?=_(?:start|end):)",
    re.IGNORECASE,
)
"""Where a CI server may find a command in a log: GitHub's `::error` and GitLab's `section_start:`
begin a line; GitHub's `##[add-path]`, Azure's and TeamCity's may stand anywhere. GitHub's known
names count inside a word too, because a table may begin a new line there."""


def printable(text: str) -> str:
    r"""Return untrusted text as one line, without control characters and commands to CI servers.

    >>> print(printable("it failed:\n\x1b[31mred"), printable("::error::x"), sep="\n")
    it failed: \x1b[31mred
    : :error: :x
    """
    line = COMMAND.sub(r"\g<0> ", " ".join(text.split()))
    if line.isprintable():
        return line
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)


def internal_error(error: BaseException) -> str:
    """Return one sentence on an error that the user did not make, below its traceback if wanted."""
    if isinstance(error, MemoryError):
        problem = "not enough memory"
    else:
        problem = "internal error: " + printable(f"{type(error).__name__}: {error}").rstrip(":")
    sentence = f"cnnperf: {problem} ({TRACEBACK}=1 shows the traceback)"
    wanted = os.environ.get(TRACEBACK)
    return "".join(traceback.format_exception(error)) + sentence if wanted else sentence


def inert_json(text: str) -> str:
    r"""Return the same JSON without commands that CI servers obey in the middle of a line.

    >>> print(inert_json('{"id": "##[add-path]"}'))
    {"id": "#\u0023[add-path]"}
    """
    return text.replace("##", r"#\u0023")


KIND_OF_VALUE = re.compile(r"<|constrained-str$|chain\[|function-")
"""Parts of pydantic's places that are no field."""


def describe_validation_error(error: ValidationError, *parents: str) -> str:
    """Return the first problem of a file as one line: the field, what was expected and found."""
    first = error.errors(include_url=False)[0]
    place = [str(part)[:60] for part in (*parents, *first["loc"])]
    # pydantic also names which kind of value it tried, such as `<case>` of a table.
    field = ".".join(part for part in place if not KIND_OF_VALUE.match(part)) or "the top level"
    found = reprlib.repr(first.get("input"))
    found = found if len(found) <= 60 else found[:57] + "..."
    more = error.error_count() - 1
    expected = first["msg"].removeprefix("Value error, ")
    text = f"{field}: {expected}, found {found}"
    if first["type"] == "missing":  # pydantic would show the whole table
        text = f"{field}: {expected}"
    elif first["type"] == "value_error" and not first["loc"]:  # of several fields; it names them
        text = ".".join(parents) + ": " * bool(parents) + expected
    return printable(text + (f" (and {more} more)" if more else ""))


def describe_import_error(name: str, error: BaseException, folder: str) -> str:
    """Return why a module of the user's cannot be imported, as one line.

    Args:
        name: the module.
        error: what its import raised.
        folder: where it is expected.
    """
    from pydantic import ValidationError

    reason = f"{type(error).__name__}: {error}"
    if isinstance(error, ValidationError):
        reason = f"{error.title}: {describe_validation_error(error)}"
    package = Path(__file__).parent
    places = [
        f"{frame.filename}, line {frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
        if not re.search("^<|-packages/", frame.filename)
        if not Path(frame.filename).is_relative_to(package)
        if Path(frame.filename).parent != Path(importlib.__file__).parent
    ]
    missing = isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}.")
    if missing or not places:  # a SyntaxError names its file itself
        return printable(f"{name} cannot be imported ({reason})") + (
            f"; expected a module in {folder}" if missing else ""
        )
    return printable(f"{name} cannot be imported ({reason}; {places[-1]})")


def one_of(kind: str, wrong: str, possible: Iterable[str]) -> str:
    """Return the message for an unknown name: the most similar name, then all of them.

    >>> one_of("model", "vgg61", ["resnet34", "vgg16"])
    "there is no model 'vgg61' (did you mean 'vgg16'?); possible: resnet34, vgg16"
    """
    names = sorted(possible)
    near = difflib.get_close_matches(wrong, names, n=1, cutoff=0.5)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"there is no {kind} {wrong!r}{hint}; possible: {', '.join(names) or 'none'}"
