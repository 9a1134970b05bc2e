"""One-off changes of cases from the command line: `--cnnperf-set recipe.batch_size=256`.

A changed case has another id, such as `vgg16-mnist-224-eager-batch_size_256`, so that it is never
taken for the unchanged one.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any

from pydantic import BaseModel, ValidationError

from cnnperf.catalog.specs import STUDY_NAMES, Call, Case, Recipe
from cnnperf.errors import UsageError, describe_validation_error, one_of

CHANGEABLE = ("recipe", "resolution", "precision", "compile", "workers")
"""Fields of a case that can be changed; the others are what the case is."""


def change_case(case: Case, changes: tuple[str, ...]) -> Case:
    """Return a case with changes such as `recipe.batch_size=256`, and an id that says so.

    Raises:
        UsageError: there is no such field, or the value does not fit.
    """
    if not changes:
        return case
    content = case.model_dump(exclude={"changes"})
    for change in changes:
        _apply(change, case, content)
    content["changes"] = tuple(map(_part_of_id, changes))
    try:
        return Case.model_validate(content)
    except ValidationError as error:
        raise UsageError(
            f"--cnnperf-set {' '.join(changes)}: {describe_validation_error(error)}"
        ) from error


def _apply(change: str, case: Case, content: dict[str, Any]) -> None:
    path, equals, text = change.partition("=")
    if not equals:
        raise UsageError(
            f"--cnnperf-set {change}: expected FIELD=VALUE, such as recipe.batch_size=256"
        )
    names = path.strip().replace("recipe.optimizer.lr", "recipe.learning_rate").split(".")
    part: Any = case
    inner = content
    for depth, name in enumerate(names):
        known = CHANGEABLE if depth == 0 else _fields(part)
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
    """Return the fields of a description; None if it takes any name."""
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
