"""Errors that are the user's to mend: one sentence, shown without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UsageError(ValueError):
    """Something asked for cannot be had; the message says what, where, and what to do."""


class DataError(UsageError):
    """A data set is not there, is damaged, or is not what its description says."""


class NotInstalledError(UsageError):
    """A package that this job needs is missing or broken."""


def printable(text: str) -> str:
    r"""Text from elsewhere as one line that a terminal shows and never obeys.

    >>> print(printable("it failed:\n\x1b[31mred"))
    it failed: \x1b[31mred
    """
    line = " ".join(text.split())
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)


def one_of(kind: str, wrong: str, possible: Iterable[str]) -> str:
    """Sentence for a name that does not exist: the nearest one first, then all of them.

    >>> one_of("model", "vgg61", ["resnet34", "vgg16"])
    "there is no model 'vgg61' (did you mean 'vgg16'?); possible: resnet34, vgg16"
    """
    names = sorted(possible)
    near = difflib.get_close_matches(wrong, names, n=1, cutoff=0.5)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"there is no {kind} {wrong!r}{hint}; possible: {', '.join(names) or 'none'}"
