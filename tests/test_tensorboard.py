"""The trace in TensorBoard: loaded by torch-tb-profiler, asked for through its HTTP interface."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")
pytest.importorskip("tensorboard", reason="needs the extra `profile`")
pytest.importorskip("torch_tb_profiler", reason="needs the extra `profile`")

from cnnperf.catalog.specs import Case  # noqa: E402
from cnnperf.record.schema import Profile  # noqa: E402
from cnnperf.training.engines.fast.engine import FastEngine  # noqa: E402
from cnnperf.training.profiling.profiler import record_profile  # noqa: E402

ANSWER_SECONDS = 300
"""For one answer, on a machine that does something else too."""

ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+/")
"""In what TensorBoard says once it listens."""

CASE_ID = "modified_vgg-digits-28-fast"

Ask = Callable[..., Any]


def profiled(folder: Path) -> Profile:
    """A real profile of a small training."""
    case = Case.model_validate(
        {"model": "modified_vgg", "dataset": "digits", "resolution": 28, "engine": "fast",
         "precision": "float32", "compile": "off",
         "recipe": {"name": "report", "epochs": 1, "batch_size": 8}}
    )  # fmt: skip
    engine = FastEngine(case=case, seed=0, device=torch.device("cpu"), data_dir=".")
    engine.prepare()
    engine.load_data()
    profile, flags = record_profile(engine, str(folder), f"{CASE_ID}-seed0", None)
    assert profile is not None, flags
    return profile


@pytest.fixture(scope="module")
def profile_and_folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Profile, Path]:
    folder = tmp_path_factory.mktemp("traces")
    return profiled(folder), folder


@pytest.fixture(scope="module")
def ask(profile_and_folder: tuple[Profile, Path]) -> Iterator[Ask]:
    """A started TensorBoard that has loaded the folder; it answers the plugin's questions.

    It chooses its port itself: one that was free a moment ago may be another test's by now.
    """
    log = profile_and_folder[1].parent / "tensorboard.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "tensorboard.main", f"--logdir={profile_and_folder[1]}",
             "--port=0", "--host=127.0.0.1", "--load_fast=false"],
            stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def answer(question: str, **arguments: str) -> Any:
        where = f"{address(log)}data/plugin/pytorch_profiler/{question}?{urlencode(arguments)}"
        with urlopen(where, timeout=ANSWER_SECONDS) as response:  # noqa: S310
            body = response.read()
            packed = response.headers.get("Content-Encoding") == "gzip"
        return json.loads(gzip.decompress(body) if packed else body)

    try:
        while not (address(log) and has_loaded(answer)):
            assert server.poll() is None, log.read_text()
            time.sleep(0.2)
        yield answer
    finally:
        server.kill()
        server.wait()


def address(log: Path) -> str:
    """Where a started TensorBoard is to be asked; empty until it says so."""
    said = ADDRESS.search(log.read_text())
    return said[0] if said else ""


def has_loaded(answer: Ask) -> bool:
    """Whether it has read what lies in its folder."""
    try:
        runs = answer("runs")
    except (URLError, ConnectionError, TimeoutError):
        return False
    return bool(runs["runs"]) and not runs["loading"]


@pytest.fixture
def place(ask: Ask, profile_and_folder: tuple[Profile, Path]) -> dict[str, str]:
    """The run, worker and span of the trace, as the page's three menus have them."""
    (run,) = ask("runs")["runs"]
    (worker,) = ask("workers", run=run, view="Overview")
    (span,) = ask("spans", run=run, worker=worker)
    return {"run": run, "worker": worker, "span": span}


def test_the_trace_is_a_worker_of_a_run(
    place: dict[str, str], profile_and_folder: tuple[Profile, Path]
) -> None:
    """Named after the folder, the case and its seed."""
    assert place["run"] == profile_and_folder[1].name
    assert place["worker"] == f"{CASE_ID}-seed0"


def test_it_has_the_views_of_a_cpu(ask: Ask, place: dict[str, str]) -> None:
    """Steps, operators, the trace itself."""
    assert set(ask("views", run=place["run"])) == {"Overview", "Operator", "Trace"}


def test_the_overview_has_the_steps_and_the_wait_for_data(
    ask: Ask, place: dict[str, str], profile_and_folder: tuple[Profile, Path]
) -> None:
    """As many as the record says, as long; waiting for data stands in its own column."""
    profile = profile_and_folder[0]
    table = ask("overview", **place)["steps"]
    heads = [column["name"] for column in table["columns"] if "name" in column]
    rows = [[cell for cell in row if not isinstance(cell, str)] for row in table["rows"]]
    assert len(rows) == profile.steps
    total = sum(map(sum, rows)) * 1e-6 / profile.steps
    assert total == pytest.approx(profile.seconds_per_step, rel=0.01)
    waited = sum(row[heads.index("DataLoader") - 1] for row in rows) * 1e-6 / profile.steps
    assert waited == pytest.approx(profile.seconds_per_step_by_class["data_wait"], rel=0.01)


def test_its_operators_are_those_of_the_record(
    ask: Ask, place: dict[str, str], profile_and_folder: tuple[Profile, Path]
) -> None:
    """Convolutions forward and backward, with the calls and the own time that the record has."""
    operators = {
        each["name"]: each for each in ask("operation/table", **place, group_by="Operation")["data"]
    }
    profile = profile_and_folder[0]
    for name in ("aten::mkldnn_convolution", "aten::convolution_backward"):
        (ours,) = [each for each in profile.longest_kernels if each.name == name]
        assert operators[name]["calls"] == 6 * profile.steps == ours.calls_per_step * profile.steps
        seconds = operators[name]["host_self_duration"] * 1e-6 / profile.steps
        assert seconds == pytest.approx(ours.seconds_per_step, rel=0.01)


def test_the_trace_comes_back_whole(
    ask: Ask, place: dict[str, str], profile_and_folder: tuple[Profile, Path]
) -> None:
    """What its Trace page shows is the file."""
    profile, folder = profile_and_folder
    assert profile.trace is not None
    assert ask("trace", **place) == json.loads(
        gzip.decompress((folder / profile.trace).read_bytes())
    )
