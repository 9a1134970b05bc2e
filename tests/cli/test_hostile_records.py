"""Records with hostile texts and numbers, through real processes of all commands that read one."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cnnperf.report.formats.comparison import Format
from tests.ci_servers import obeyed
from tests.commands import run_cnnperf, sentence_of
from tests.examples import example_case_record, example_record, example_repeat, write_record

COMMAND = "::error title=x::y"

HOSTILE = (
    COMMAND, "##[add-path]/tmp", "##vso[task.complete]", "##teamcity[x]", "section_start:1:x",
    *("x" * width + COMMAND for width in (57, 58, 59, 60, 78, 79, 80, 118, 119, 120)),
    *("xx " * (width // 3) + COMMAND for width in (54, 57, 60, 75, 78, 81, 117, 120)),
)  # fmt: skip
"""Case ids; some are folded before the command in a terminal of 60, 80 or 120 columns."""

CONTROL = "a\0b\x01c\x1b[31md\u202ee\uffff"


def _write(path: Path, *ids: str, **fields: Any) -> str:
    cases = [
        example_case_record(id=each, model=each, repeats=[example_repeat(n) for n in range(3)])
        for each in ids
    ]
    for case in cases:
        case.outcome = "passed"
    record = example_record(*cases, **fields)
    path.parent.mkdir(exist_ok=True)
    return str(write_record(path, json.loads(record.model_dump_json())))


COMMANDS: dict[str, Callable[[str], tuple[str, ...]]] = {
    **{f"compare {form}": lambda file, form=form: ("compare", file, file, "-f", form)  # type: ignore[misc]
       for form in Format if form is not Format.GITHUB},
    "compare --verbose": lambda file: ("compare", file, file, "--verbose"),
    **{f"history {form}": lambda file, form=form: ("history", str(Path(file).parent), "-f", form)  # type: ignore[misc]
       for form in ("table", "csv", "json")},
    "export": lambda file: ("export", file, "--to", "bencher"),
    "report": lambda file: ("report", file, file, "-o", "-"),
    "floors": lambda file: ("floors", "--record", file),
    "calibrate": lambda file: ("calibrate", "--from", file, "-o", f"{file}.calibration"),
}  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("columns", ["60", "80", "120"])
def test_no_line_of_any_output_is_a_command_to_a_ci_server(
    tmp_path: Path, name: str, columns: str
) -> None:
    """Neither of a table, nor of a wrapped cell, nor of an error."""
    if columns != "120" and not name.endswith(("table", "--verbose", "calibrate")):
        pytest.skip("does not wrap")
    file = _write(tmp_path / "records" / "run.json", *HOSTILE)
    done = run_cnnperf(*COMMANDS[name](file), env={**os.environ, "COLUMNS": columns})
    assert "Traceback" not in done.stderr
    assert done.stdout + done.stderr
    lines = (done.stdout + done.stderr).splitlines()
    assert [line for line in lines if obeyed(line)] == []


def test_annotations_of_hostile_cases_are_only_ours(tmp_path: Path) -> None:
    """A line is one annotation, whatever a case is called."""
    base = _write(tmp_path / "base.json", *HOSTILE)
    new = _write(tmp_path / "new.json", "another")
    done = run_cnnperf("compare", base, new, "-f", "github")
    assert done.returncode == 1
    for line in done.stdout.splitlines():
        assert re.match(r"::(error|warning|notice) title=[^:]*::", line)
        assert not obeyed(line.split("::", 2)[2])


def test_figures_of_a_case_with_control_characters_are_drawn(tmp_path: Path) -> None:
    """They would end the process that draws pictures with a backtrace of Rust."""
    file = _write(tmp_path / "run.json", CONTROL)
    folder = tmp_path / "figures"
    done = run_cnnperf(
        "report", file, file, "-o", str(tmp_path / "page.html"), "--figures", str(folder)
    )
    assert done.returncode == 0, done.stderr
    pictures = list(folder.glob("*.svg"))
    assert pictures
    shown = r"a\x00b\x01c\x1b[31md\u202ee\uffff"
    assert any(shown in picture.read_text() for picture in pictures)
    for text in [picture.read_text() for picture in pictures]:
        assert not re.search(r"[\0-\x08\x1b\u202e\uffff]", text)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("environment.hardware.matmul_flops_per_second.float32", float("inf")),
        ("environment.hardware.matmul_flops_per_second.float32", 1e308),
        ("environment.hardware.cpu_logical_cores", True),
        ("cases.0.repeats.0.metrics.train_seconds", "3.5"),
        ("cases.0.repeats.0.metrics.train_seconds", True),
        ("cases.0.repeats.0.metrics.images_per_second", "3.5"),
        ("cases.0.repeats.0.warnings.0.value", float("nan")),
        ("cases.0.repeats.0.state.during.throttle_shares.heat", "1"),
        ("cases.0.fingerprint.recipe.learning_rate", float("inf")),
        ("created", "0001-01-01T00:00:00Z"),
        ("created", 1_700_000_000),
        ("created", "1700000000"),
    ],
)
def test_what_is_no_number_or_time_is_refused_by_every_reader(
    tmp_path: Path, place: str, value: object
) -> None:
    """The sentence names the field; no command calculates with it."""
    body = json.loads(example_record().model_dump_json())
    repeat = body["cases"][0]["repeats"][0]
    repeat["warnings"] = [{"kind": "busy_cpu", "message": "x"}]
    repeat["state"] = {"during": {"throttle_shares": {}}}
    body["environment"]["hardware"]["matmul_flops_per_second"] = {}
    *parents, last = place.split(".")
    parent: Any = body
    for each in parents:
        parent = parent[int(each) if each.isdigit() else each]
    parent[last] = value
    folder = tmp_path / "records"
    folder.mkdir()
    file = write_record(folder / "run.json", body)
    for command in (("compare", str(file), str(file)), ("report", str(file))):
        assert f"cnnperf.{place}: Input should be" in sentence_of(run_cnnperf(*command))
    if not place.startswith(
        ("cases.0.repeats.0.warnings", "cases.0.repeats.0.state", "environment")
    ):
        sentence = sentence_of(run_cnnperf("history", str(folder)))
        assert f"cnnperf.{place}: Input should be" in sentence


@pytest.mark.parametrize("option", ["--config", "--calibration"])
@pytest.mark.parametrize("kind", ["pipe", "/dev/zero", "/dev/tty", "/dev/stdin", "folder"])
def test_an_input_that_never_ends_is_refused_at_once(
    tmp_path: Path, option: str, kind: str
) -> None:
    """A pipe brings nothing, and a device brings more than there is memory."""
    path = kind
    if kind in ("pipe", "folder"):
        path = str(tmp_path / kind)
        (os.mkfifo if kind == "pipe" else os.mkdir)(path)
    file = _write(tmp_path / "run.json", "a")
    done = run_cnnperf("compare", file, file, option, path)
    wanted = "cannot be read: Is a directory" if kind == "folder" else "is a pipe or a device"
    assert f"cnnperf: {path} {wanted}" in sentence_of(done)


def test_a_huge_file_of_thresholds_is_refused(tmp_path: Path) -> None:
    """Reading it would take many times its size."""
    file = _write(tmp_path / "run.json", "a")
    config = tmp_path / "huge.toml"
    with config.open("wb") as opened:
        opened.truncate(2**40)
    sentence = sentence_of(run_cnnperf("compare", file, file, "--config", str(config)))
    assert "has 1.00 TiB, expected at most 4 MiB: name a TOML file with thresholds" in sentence


def test_a_page_is_not_compared_with_what_a_pipe_might_bring(tmp_path: Path) -> None:
    """The pipe's reader gets the page; before, the command waited for a writer."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    _write(tmp_path / "records" / "run.json", "a")
    page = tmp_path / "page.html"
    with page.open("wb") as file, subprocess.Popen(["cat", str(pipe)], stdout=file) as reader:
        done = run_cnnperf("history", str(tmp_path / "records"), "-o", str(pipe))
        if done.returncode:
            reader.kill()
    assert done.returncode == 0, done.stderr
    assert page.read_text().lower().startswith("<!doctype html")
