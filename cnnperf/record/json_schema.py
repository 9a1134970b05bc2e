"""What a model's fields mean, for its JSON Schema: the docstrings that stand under them.

pydantic's own `use_attribute_docstrings` reads them when a class is made. That means finding and
parsing its source, in every process, for a text that only `cnnperf schema` shows.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from itertools import pairwise
from typing import Any


def describe_fields(schema: dict[str, Any], model: type[Any]) -> None:
    """Add a model's own docstrings to its schema: for pydantic's `json_schema_extra`.

    Nothing is added where the source is not there.
    """
    try:
        source = inspect.getsource(model)
    except (OSError, TypeError):  # bytecode alone; made at run time
        return
    (definition,) = ast.parse(textwrap.dedent(source)).body
    assert isinstance(definition, ast.ClassDef)
    for field, text in pairwise(definition.body):
        match field, text:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(words))),
            ):
                schema["properties"][name]["description"] = inspect.cleandoc(words)
