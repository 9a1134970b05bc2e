"""Select cases by an expression, as `pytest benchmarks -k` does."""

from __future__ import annotations

import difflib
import re

from cnnperf.catalog.registry import all_cases
from cnnperf.catalog.specs import Tier
from cnnperf.errors import UsageError

MAX_NEAR = 5
"""Ids in the message about an expression that selects nothing."""


def select_cases(expression: str | None, tier: Tier) -> list[str]:
    """Return the ids of the selected cases of a tier, in the order of a run.

    Args:
        expression: words of ids with `and`, `or`, `not` and brackets; case does not matter. None
            selects suite `train`; an expression selects from all suites.
        tier: the tier of the run.

    Raises:
        UsageError: the expression is invalid or selects nothing; the message names similar ids.
    """
    if not expression:
        return [case.id for case in all_cases(tier, "train")]
    chosen = [case.id for case in all_cases(tier) if matches(expression, case.id)]
    if not chosen:
        hint = _hint(expression, tier)
        raise UsageError(f"-k {expression!r} selects no case of tier {tier}; {hint}")
    return chosen


def matches(expression: str, case_id: str) -> bool:
    """Return whether pytest's `-k` would select a test of that id.

    Raises:
        UsageError: the expression is invalid.
    """
    from _pytest.mark.expression import Expression  # pytest's own parser: same rules as -k

    def contains(word: str, /, **_: object) -> bool:
        return word.lower() in case_id.lower()

    try:
        return Expression.compile(expression).evaluate(contains)
    except Exception as error:  # a SyntaxError; up to pytest 8 an error of its own
        reason = getattr(error, "msg", None) or error
        raise UsageError(
            f"-k {expression!r}: {reason}; expected words of case ids with and, or, not, as in "
            "-k 'vgg and not 224'"
        ) from error


def _hint(expression: str, tier: Tier) -> str:
    """Name cases of another tier that the expression selects, else cases with similar words."""
    elsewhere = [case for case in all_cases() if matches(expression, case.id)]
    if elsewhere:
        other = elsewhere[0].tiers[0]
        there = [case.id for case in elsewhere if other in case.tiers]
        return f"try --tier={other}, which has {_some(there)}"
    ids = list(dict.fromkeys(case.id for case in (*all_cases(tier), *all_cases())))
    near = [case_id for case_id in ids if _is_near(expression, case_id)]
    return f"possible: {_some(near or ids)} (`cnnperf list` shows all)"


def _is_near(expression: str, case_id: str) -> bool:
    words = [word for word in re.findall(r"[a-z0-9]+", expression.lower()) if len(word) > 2]
    parts = re.split("[-_]", case_id.lower())
    return any(difflib.get_close_matches(word, parts, n=1, cutoff=0.7) for word in words)


def _some(ids: list[str]) -> str:
    more = f" and {len(ids) - MAX_NEAR} more" if len(ids) > MAX_NEAR else ""
    return ", ".join(ids[:MAX_NEAR]) + more
