"""Define errors that the user can fix: one sentence, shown without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UsageError(ValueError):
    """A request that cannot be met. The message says what is wrong, where, and how to fix it."""


class DataError(UsageError):
    """A data set that is missing, damaged, or different from its description."""


class NotInstalledError(UsageError):
    """A required package that is missing or broken."""


def printable(text: str) -> str:
    r"""Return untrusted text as one line, with control characters escaped.

    >>> print(printable("it failed:\n\x1b[31mred"))
    it failed: \x1b[31mred
    """
    line = " ".join(text.split())
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)


def one_of(kind: str, wrong: str, possible: Iterable[str]) -> str:
    """Return the message for an unknown name: the most similar name, then all of them.

    >>> one_of("model", "vgg61", ["resnet34", "vgg16"])
    "there is no model 'vgg61' (did you mean 'vgg16'?); possible: resnet34, vgg16"
    """
    names = sorted(possible)
    near = difflib.get_close_matches(wrong, names, n=1, cutoff=0.5)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"there is no {kind} {wrong!r}{hint}; possible: {', '.join(names) or 'none'}"
