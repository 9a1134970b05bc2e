"""What is no file, too large a one, or any bytes at all: read, or refused in one line."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnperf.errors import UsageError
from cnnperf.record.files import MAX_FILE_BYTES
from cnnperf.record.journal import read_journal
from cnnperf.record.loading import load_record
from cnnperf.record.schema import Record
from tests.examples import (
    example_case_record,
    example_record,
    write_record,
)
from tests.refusals import refusal_of
from tests.strategies import json_values, mutated

HERE = Path(__file__).parents[1]
REAL = [*(HERE / "records").glob("*.json"), *HERE.parent.glob("reports/*/smoke.json")]
"""A record written by hand and, in a checkout, what a run left."""

TEXTS = [path.read_text() for path in REAL]

fuzzed = settings(max_examples=150)


def test_a_pipe_or_device_is_refused_without_waiting(tmp_path: Path) -> None:
    """A pipe may never bring anything, and a device may never end."""
    pipe, address = tmp_path / "pipe", tmp_path / "socket"
    os.mkfifo(pipe)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(address))
        for path in (pipe, address, Path("/dev/zero"), Path("/dev/null")):
            assert refusal_of(path).startswith(f"{path} is a pipe or a device, expected a file: ")
    with pytest.raises(UsageError, match="is a pipe or a device, expected a file"):
        read_journal(pipe)


def test_standard_input_is_refused_unless_it_is_a_file(tmp_path: Path) -> None:
    """A process whose input is a pipe that stays open does not wait for it."""
    code = (
        "from cnnperf.errors import UsageError\n"
        "from cnnperf.record.loading import load_record\n"
        "try: print(len(load_record('/dev/stdin').cases))\n"
        "except UsageError as error: print(error)\n"
    )
    record = write_record(tmp_path / "run.json", example_record().model_dump(mode="json"))
    with record.open() as file:
        done = subprocess.run(
            [sys.executable, "-c", code], stdin=file, capture_output=True, text=True, check=True
        )
    assert done.stdout == "1\n"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.read().startswith("/dev/stdin is a pipe or a device")


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """One of a terabyte, all of it a hole, could not be read at all."""
    file = tmp_path / "run.json"
    with file.open("wb") as opened:
        opened.truncate(2**40)
    assert " has 1.00 TiB, expected at most 512 MiB: " in refusal_of(file)
    with file.open("wb") as opened:
        opened.truncate(MAX_FILE_BYTES + 1)
    assert "expected at most 512 MiB" in refusal_of(file)


def test_a_record_of_ten_thousand_trainings_loads(tmp_path: Path) -> None:
    """Twenty megabytes are nothing out of the ordinary."""
    case = example_case_record().model_dump_json()
    whole = example_record().model_dump_json()
    repeat = json.dumps(json.loads(case)["repeats"][0])
    file = tmp_path / "run.json"
    cases = case[: case.index('"repeats":')] + '"repeats":[' + ",".join([repeat] * 10_000) + "]}"
    file.write_text('{"cnnperf": ' + whole[: whole.index('"cases":')] + f'"cases":[{cases}]' + "}}")
    assert file.stat().st_size > 15e6
    assert len(load_record(file).cases[0].repeats) == 10_000


def test_an_error_of_the_system_is_quoted(tmp_path: Path) -> None:
    """A process's memory is a file by its kind, but there is nothing at its beginning."""
    memory = Path("/proc/self/mem")
    if not memory.exists():
        pytest.skip("needs Linux")
    assert refusal_of(memory).startswith("/proc/self/mem cannot be read: ")
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert "cannot be read: Too many levels of symbolic links" in refusal_of(loop)
    long = tmp_path / ("x" * 300)
    with pytest.raises(UsageError, match="cannot be read: File name too long"):
        load_record(long)


def test_a_hostile_file_name_cannot_steer_the_terminal(tmp_path: Path) -> None:
    """Names, too, come from elsewhere: out of an artifact, for example."""
    file = tmp_path / "\x1b[31m\nrun.json"
    file.write_text("{}")
    with pytest.raises(UsageError) as caught:
        load_record(file)
    assert str(caught.value).startswith(f"{tmp_path}/\\x1b[31m run.json holds no key 'cnnperf'")


# --- fuzzing ------------------------------------------------------------------------------------


def _record_or_one_line(file: Path) -> Record | str:
    """What `load_record` makes of a file; nothing else but these two may come of it."""
    try:
        record = load_record(file)
    except UsageError:
        return refusal_of(file)
    assert isinstance(record, Record)
    return record


@given(content=st.binary(max_size=200))
@fuzzed
def test_any_bytes_are_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    """No few bytes are a record."""
    file = tmp_path / "run.json"
    file.write_bytes(content)
    assert isinstance(_record_or_one_line(file), str)


@given(content=json_values)
@fuzzed
def test_any_json_is_refused_in_one_line(tmp_path: Path, content: Any) -> None:
    """The value is the whole file, or stands in place of the record."""
    file = tmp_path / "run.json"
    file.write_text(json.dumps(content))
    assert isinstance(_record_or_one_line(file), str)
    assert isinstance(_record_or_one_line(write_record(file, content)), str)


@given(content=st.sampled_from(TEXTS).flatmap(mutated))
@fuzzed
def test_a_changed_record_loads_or_is_refused_in_one_line(tmp_path: Path, content: Any) -> None:
    """Whatever is deleted from a real one, put elsewhere, or replaced by something else."""
    file = tmp_path / "run.json"
    file.write_text(json.dumps(content))
    _record_or_one_line(file)


@given(text=st.sampled_from(TEXTS), data=st.data())
@fuzzed
def test_a_record_that_is_cut_off_is_refused_in_one_line(
    tmp_path: Path, text: str, data: st.DataObject
) -> None:
    """At any byte, as by a full disk or an upload that broke."""
    file = tmp_path / "run.json"
    whole = text.rstrip().encode()
    file.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    text = str(_record_or_one_line(file))
    assert " is empty, " in text or "; it seems cut off: copy it again or, " in text


@given(text=st.sampled_from(TEXTS), data=st.data())
@fuzzed
def test_a_damaged_record_loads_or_is_refused_in_one_line(
    tmp_path: Path, text: str, data: st.DataObject
) -> None:
    """Whatever stands in place of a few of its bytes."""
    file = tmp_path / "run.json"
    content = bytearray(text.encode())
    start = data.draw(st.integers(0, len(content)))
    content[start : start + data.draw(st.integers(0, 5))] = data.draw(st.binary(max_size=5))
    file.write_bytes(content)
    _record_or_one_line(file)
