"""Untrusted text as one line: nothing in it steers a terminal, a reader or a CI server."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnperf.errors import inert_json, printable
from tests.ci_servers import obeyed

COMMANDS = (
    "::error title=x::y", "::ADD-MASK::x", "::stop-commands::x", "::set-output name=a::b",
    "##[add-path]/tmp", "##vso[task.setvariable variable=a]b", "##teamcity[testFailed name='a']",
    "section_start:1:x", "section_end:1:x", "##[error]x",
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_no_part_of_a_text_is_a_command_however_it_is_wrapped(command: str) -> None:
    """A table may fold a long word at any character, and puts white space in front."""
    assert obeyed(command)
    text = printable(f"a case:{command}")
    for place in range(len(text)):
        assert not obeyed("  " + text[place:])


@given(st.text(st.sampled_from(":#[]|_ \t\n\0er") | st.characters(), max_size=20))
def test_text_is_one_printable_line_and_stays_so(text: str) -> None:
    """Applied twice it is the same, since sentences are made of sentences."""
    line = printable(text)
    assert line.isprintable()
    assert line.isascii() or not text.isascii()
    assert printable(line) == line
    assert not obeyed(line)


def test_names_with_colons_stay_readable() -> None:
    """Tests and C++ have them."""
    for text in (
        "benchmarks/test_train.py::test_train",
        "at::native::conv",
        "std::bad_alloc",
        "a:",
    ):
        assert printable(text) == text


@given(st.text(max_size=9).map("##[add-path]{}##vso[x]".format))
def test_json_without_commands_has_the_same_meaning(text: str) -> None:
    """Only its spelling differs."""
    whole = inert_json(json.dumps({text: [text, 1.5]}, indent=2))
    assert json.loads(whole) == {text: [text, 1.5]}
    assert not any(map(obeyed, whole.splitlines()))
