"""What the JSON Schema says of fields, against pydantic's own reading of the same docstrings."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, create_model

from cnnperf.record import environment as schema
from cnnperf.record.environment import Environment, State
from cnnperf.record.json_schema import describe_fields


def test_the_environments_fields_are_described_as_pydantic_would(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of a copy of the module that leaves the docstrings to pydantic."""
    source = inspect.getsource(schema)
    ours, theirs = "json_schema_extra=describe_fields", "use_attribute_docstrings=True"
    assert source.count(ours) == 1
    (tmp_path / "read_by_pydantic.py").write_text(source.replace(ours, theirs))
    monkeypatch.syspath_prepend(str(tmp_path))
    reference = importlib.import_module("read_by_pydantic")
    for model in (Environment, State):
        expected = getattr(reference, model.__name__).model_json_schema()
        assert "description" in str(expected["$defs"])
        assert model.model_json_schema() == expected


def test_only_a_fields_own_docstring_describes_it() -> None:
    """Not a text that stands elsewhere, and not a method's; lines of one are joined as they are."""

    class Thing(BaseModel):
        """A class's docstring is its own."""

        model_config = ConfigDict(json_schema_extra=describe_fields)

        first: int = 0
        second: int = 0
        """One line,
        and another."""

        def third(self) -> None:
            """Describe no field."""

    properties = Thing.model_json_schema()["properties"]
    assert "description" not in properties["first"]
    assert properties["second"]["description"] == "One line,\nand another."


def test_a_model_without_source_has_no_descriptions() -> None:
    """As of one made at run time; its schema is still there."""
    model = create_model("Thing", size=(int, 0), __module__="of_nowhere")
    shown = {"properties": {"size": {"type": "integer"}}}
    describe_fields(shown, model)
    assert shown == {"properties": {"size": {"type": "integer"}}}
