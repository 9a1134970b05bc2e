"""One-off changes of cases from the command line: `--cnnperf-set recipe.batch_size=256`.

A changed case has another id, such as `vgg16-mnist-224-eager-batch_size_256`, so that it is never
taken for the unchanged one.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from cnnperf.catalog.loops import AnyCase, LoopCase
from cnnperf.catalog.specs import STUDY_NAMES, Call, Case, Recipe
from cnnperf.errors import UsageError, describe_validation_error, one_of

CHANGEABLE: dict[type[AnyCase], tuple[str, ...]] = {
    Case: ("recipe", "resolution", "precision", "compile", "workers"),
    LoopCase: ("settings",),
}
"""Fields of a case that can be changed; the others are what the case is."""


def change_all(cases: Sequence[AnyCase], changes: tuple[str, ...]) -> list[tuple[AnyCase, AnyCase]]:
    """Return each case with the changes, and as it was; those without such a field are left out.

    Raises:
        UsageError: no case has such a field, or a value does not fit.
    """
    fitting = [case for case in cases if all(_has_field(case, change) for change in changes)]
    if fitting:
        return [(change_case(case, changes), case) for case in fitting]
    for change in changes:
        field = _path(change)[0]
        near = [case for case in cases if field in CHANGEABLE[type(case)]]
        if not near:
            known = {name for case in cases for name in CHANGEABLE[type(case)]}
            raise UsageError(f"--cnnperf-set {change}: {one_of('field', field, known)}")
        change_case(near[0], (change,))  # says what is wrong with it
    raise UsageError(f"--cnnperf-set {' '.join(changes)}: no case has all of these fields")


def _has_field(case: AnyCase, change: str) -> bool:
    field, *names = _path(change)
    if field not in CHANGEABLE[type(case)]:
        return False
    return not names or not isinstance(case, LoopCase) or names[0] in case.settings


def _path(change: str) -> list[str]:
    names = change.partition("=")[0].strip()
    return names.replace("recipe.optimizer.lr", "recipe.learning_rate").split(".")


def change_case(case: AnyCase, changes: tuple[str, ...]) -> AnyCase:
    """Return a case with changes such as `recipe.batch_size=256`, and an id that says so.

    Raises:
        UsageError: there is no such field, or the value does not fit.
    """
    content = case.model_dump(exclude={"changes"})
    for change in changes:
        _apply(change, case, content)
    content["changes"] = tuple(map(_part_of_id, changes))
    try:
        return type(case).model_validate(content)
    except ValidationError as error:
        raise UsageError(
            f"--cnnperf-set {' '.join(changes)}: {describe_validation_error(error)}"
        ) from error


def _apply(change: str, case: AnyCase, content: dict[str, Any]) -> None:
    _, equals, text = change.partition("=")
    if not equals:
        raise UsageError(
            f"--cnnperf-set {change}: expected FIELD=VALUE, such as recipe.batch_size=256"
        )
    names = _path(change)
    part: Any = case
    inner = content
    for depth, name in enumerate(names):
        known = CHANGEABLE[type(case)] if depth == 0 else _fields(part)
        if known is not None and name not in known:
            raise UsageError(f"--cnnperf-set {change}: {one_of('field', name, known)}")
        if depth == len(names) - 1:
            inner[name] = value = _value(text)
            if isinstance(value, dict) and "lr" in value:  # an optimizer with a rate of its own
                inner.pop("learning_rate", None)
            return
        part = getattr(part, name, None)
        inner[name] = _as_table(inner.get(name))
        inner = inner[name]


def _fields(part: Any) -> list[str] | None:
    """Return the fields of a description, or the user's settings; None if it takes any name."""
    if isinstance(part, dict):
        return list(part)
    if isinstance(part, BaseModel) and not isinstance(part, Call):
        return [name for name in type(part).model_fields if (type(part), name) != (Recipe, "name")]
    return None


def _as_table(value: Any) -> dict[str, Any]:
    """Return a table to change: an optimizer may be just its name."""
    if isinstance(value, dict):
        return dict(value)
    return {} if value is None else {"name": STUDY_NAMES.get(value, value)}


def _value(text: str) -> Any:
    """Parse a value as TOML does; anything else is text, so that names need no quotes."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text.strip()


def _part_of_id(change: str) -> str:
    path, _, text = change.partition("=")
    shown = re.sub(r"[^A-Za-z0-9.+]+", "_", f"{path.strip().rpartition('.')[2]}_{text}")
    return shown.strip("_")
