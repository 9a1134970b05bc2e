"""The steps of `.ci/gpu`: their order, what they select, and what is left for another call.

Nothing is started here: a function takes the place of the processes, writes what they would leave,
and remembers their arguments. `test_gpu_command.py` starts real ones.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cnnperf.catalog.switches import SWITCHES
from tests.conftest import REQUIRE_CUDA

ROOT = Path(__file__).parents[2]

DONE, FAILED, USAGE, AGAIN = 0, 1, 2, 75


def _is_ours(name: str) -> bool:
    path = getattr(sys.modules[name], "__file__", None)
    return path is not None and Path(path).parent == ROOT / ".ci" / "gpu"


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put `.ci/gpu` on the path, as Python does when it runs that folder."""
    monkeypatch.syspath_prepend(ROOT / ".ci" / "gpu")
    yield
    for name in [name for name in sys.modules if _is_ours(name)]:
        del sys.modules[name]


class Gpu:
    """A machine with a GPU: which data it has, and how its processes end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data: tuple[str, ...] = ("mnist", "cifar10")
        self.codes: dict[str, int] = {}
        """Exit code of a record's or a file of tests' process, by name; 0 for all others."""
        self.error_kind = "exception"
        """Of the case that fails where a record's process ends with 1."""
        self.calls: list[tuple[str, list[str], dict[str, str]]] = []
        """Name, arguments and variables of each process but those that look for data."""
        self.minutes = 9.0
        self.now = 0
        self.end_after: str | None = None
        """The process after which the time is up."""

    def run(self, piece: str, *, select: str | None = None) -> int:
        """Run a piece and return its exit code."""
        from results import Results  # type: ignore[import-not-found]
        from runner import Runner  # type: ignore[import-not-found]

        asked = argparse.Namespace(
            piece=piece, select=select, more=[], tiny=False, device="cuda", data=Path("/data")
        )
        deadline = time.monotonic() + 60 * self.minutes
        self.runner = Runner(asked, {}, Results(self.folder, self.folder), deadline)
        self.runner._python = self._process
        code: int = self.runner.run(piece)
        return code

    def _process(self, *arguments: str, **variables: str) -> int:
        if "data" in arguments:
            return DONE if arguments[arguments.index("data") + 1] in self.data else FAILED
        given = dict(
            each.split("=", 1) for each in arguments if each.startswith("--") and "=" in each
        )
        if record := given.get("--benchmark-json"):
            name = Path(record).stem
            self._write_record(Path(record), self.codes.get(name, DONE))
        elif junit := given.get("--junitxml"):
            name = Path(junit).stem
            self._write(Path(junit), "<testsuites/>")
        else:
            name = arguments[arguments.index("cnnperf.cli") + 1]
            if name == "floors":
                self._write(Path(arguments[arguments.index("-o") + 1]), "{}")
        self.calls.append((name, list(arguments), {**self.runner.environ, **variables}))
        if name == self.end_after:
            self.runner.deadline = time.monotonic()
        return self.codes.get(name, DONE)

    def _write_record(self, path: Path, code: int) -> None:
        error = {"kind": self.error_kind} if code == FAILED else None
        case: dict[str, Any] = {
            "id": "a", "outcome": "failed" if error else "passed", "error": error,
            "repeats": [{"epochs": [{"train_seconds": 2.0, "val_seconds": 0.5}]}],
        }  # fmt: skip
        content = {"interrupted": code == AGAIN, "cases": [case]}
        self._write(path, json.dumps({"cnnperf": content}))

    def _write(self, path: Path, text: str) -> None:
        """Write a file, a second after the one before."""
        path.write_text(text)
        self.now += 1
        os.utime(path, (self.now, self.now))

    @property
    def names(self) -> list[str]:
        """Names of the processes, in order."""
        return [name for name, _, _ in self.calls]

    def selected(self, name: str) -> str:
        """Return the expression of -k of a process."""
        (arguments,) = [arguments for each, arguments, _ in self.calls if each == name]
        return arguments[arguments.index("-k") + 1]


@pytest.fixture
def gpu(tmp_path: Path) -> Gpu:
    """Return a machine on which everything passes."""
    return Gpu(tmp_path)


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    """Return the last line that was said."""
    return capsys.readouterr().out.splitlines()[-1]


def test_all_goes_by_value_and_continues_where_it_stopped(
    gpu: Gpu, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each call starts nothing that is done; together they start everything once."""
    gpu.end_after = "once"
    assert gpu.run("all") == AGAIN
    assert gpu.names == ["first", "tests-training-test_cuda", "once"]
    assert last_line(capsys) == "gpu: not finished: run it again to continue"

    gpu.end_after = "switches-base-again"
    assert gpu.run("all") == AGAIN
    assert gpu.names[3:5] == ["floors", "switches-base"]
    gpu.end_after = None
    gpu.run("all")
    trained = [name for name in gpu.names if name not in ("floors", "calibrate")]
    assert len(trained) == len(set(trained))
    order = ["first", "tests-training-test_cuda", "once", "switches-base", "standard-fast-28",
             "eager", "group", "tests-training-test_fast", "standard-eager-224", "peers-28",
             "sweep-28"]  # fmt: skip
    assert [name for name in gpu.names if name in order] == order
    assert {"standard-fast-cifar10", "tests-machine-test_nvml", "peers-224"} <= set(trained)


def test_all_stops_at_the_first_fallback_and_tries_it_again(
    gpu: Gpu, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing after it starts; once the cause is gone, the next call goes on from there."""
    gpu.codes, gpu.error_kind = {"first": FAILED}, "fallback"
    assert gpu.run("all") == FAILED
    assert gpu.names == ["first"]
    line = last_line(capsys)
    assert line.startswith("gpu: stopped: engine fast fell back in first, ")
    assert "--cnnperf-allow-fallback" in line
    gpu.codes, gpu.end_after = {}, "tests-training-test_cuda"
    assert gpu.run("all") == AGAIN
    assert gpu.names == ["first", "first", "tests-training-test_cuda"]


def test_other_failures_do_not_stop_all_and_are_not_tried_again_by_it(
    gpu: Gpu, capsys: pytest.CaptureFixture[str]
) -> None:
    """A command of its own tries a failed step again."""
    gpu.codes, gpu.end_after = {"first": FAILED, "tests-training-test_cuda": FAILED}, "once"
    assert gpu.run("all") == AGAIN
    assert gpu.names == ["first", "tests-training-test_cuda", "once"]
    failed = "(failed: first, tests-training-test_cuda)"
    assert last_line(capsys) == f"gpu: not finished: run it again to continue {failed}"
    gpu.calls, gpu.end_after = [], "floors"
    assert gpu.run("all") == AGAIN
    assert gpu.names == ["floors"]
    assert last_line(capsys).endswith(failed)
    gpu.calls, gpu.codes = [], {}
    assert gpu.run("first") == gpu.run("graphs") == DONE
    assert gpu.names == ["first", "tests-training-test_cuda"]
    assert [path.name for path in gpu.folder.glob("tests-*")] == ["tests-training-test_cuda.xml"]


def test_piece_runs_with_the_data_there_are_and_says_what_is_left(
    gpu: Gpu, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without CIFAR-10 the MNIST cases are trained, and calibrated."""
    gpu.data = ("mnist",)
    assert gpu.run("standard") == DONE
    assert "standard-fast-28" in gpu.names
    assert not [name for name in gpu.names if "cifar10" in name]
    line = last_line(capsys)
    assert line.startswith("gpu: done; left out: standard-fast-cifar10, standard-eager-cifar10,")
    assert "cnnperf data cifar10" in line
    gpu.run("calibrate")
    assert gpu.selected("calibrate") == "28 and fast and not cifar10"


@pytest.mark.parametrize("piece", ["all", "first", "calibrate"])
def test_no_data_end_with_2_before_anything_starts(
    gpu: Gpu, capsys: pytest.CaptureFixture[str], piece: str
) -> None:
    """One sentence names the data sets and the command that gets them."""
    gpu.data = ()
    assert gpu.run(piece) == USAGE
    assert gpu.calls == []
    assert "`cnnperf data cifar10 mnist --data-dir /data`" in last_line(capsys)


def test_users_selection_is_added_to_that_of_each_step_and_has_its_own_record(gpu: Gpu) -> None:
    """A record of some cases must not be taken for one of all."""
    assert gpu.run("repeats", select="modified_vgg or cat") == DONE
    name = "standard-fast-28-modified_vgg-or-cat"
    assert gpu.names == [name]
    assert gpu.selected(name) == "(mnist and 28 and fast) and (modified_vgg or cat)"
    assert gpu.run("repeats") == DONE
    assert gpu.names[1:] == ["standard-fast-28"]


def test_tests_run_file_by_file_until_the_time_is_up(gpu: Gpu) -> None:
    """Those of graphs and of `fast` first; a file that passed is not repeated."""
    gpu.end_after = "tests-training-test_fast"
    gpu.codes = {"tests-training-test_fast": 2}  # interrupted, because the time was up
    assert gpu.run("tests") == AGAIN
    assert gpu.names == ["tests-training-test_cuda", "tests-training-test_fast"]
    assert [path.name for path in gpu.folder.glob("*.xml")] == ["tests-training-test_cuda.xml"]
    gpu.end_after, gpu.codes = None, {}
    assert gpu.run("tests") == DONE
    assert gpu.names[2] == "tests-training-test_fast"
    assert gpu.names.count("tests-training-test_cuda") == 1
    for _, arguments, variables in gpu.calls:
        assert "cuda" in arguments[arguments.index("-m", 2) :]
        assert variables[REQUIRE_CUDA] == "1"


def test_each_optimisation_is_switched_off_once_between_two_bases(
    gpu: Gpu, capsys: pytest.CaptureFixture[str]
) -> None:
    """The variable is the only difference; the table shows seconds over those of the base.

    docs/performance.md says what each of them is.
    """
    page = (ROOT / "docs" / "performance.md").read_text()
    assert [name for name in SWITCHES if f"| `{name}` |" not in page] == []
    gpu.run("switches")
    off = [variables["CNNPERF_FAST_OFF"] for _, _, variables in gpu.calls]
    assert off == ["", *SWITCHES, ""]
    assert gpu.names == ["switches-base", *(f"switches-without-{name}" for name in SWITCHES),
                         "switches-base-again"]  # fmt: skip
    plain = [
        [each for each in arguments if not each.startswith(("--benchmark-json", "--cnnperf-max"))]
        for _, arguments, _ in gpu.calls
    ]
    assert all(each == plain[0] for each in plain)

    record = gpu.folder / "switches-without-bias.json"
    content = json.loads(record.read_text())
    content["cnnperf"]["cases"][0]["repeats"][0]["epochs"][0]["train_seconds"] = 2.5
    record.write_text(json.dumps(content))
    capsys.readouterr()
    gpu.run("switches")
    lines = [line.split()[1:] for line in capsys.readouterr().out.splitlines()]
    assert ["switches-without-bias", "a", "1.200"] in lines  # (2.5 + 0.5) / (2.0 + 0.5)
    assert ["switches-base-again", "a", "1.000"] in lines


def test_floors_stand_beside_standard_or_else_beside_once(gpu: Gpu) -> None:
    """`all` measures them again only once there is something new."""

    def given() -> list[str]:
        arguments = gpu.calls[-1][1]
        return [Path(each).name for each in arguments if Path(each).parent == gpu.folder][1:]

    gpu.run("once")
    gpu.run("floors")
    assert given() == ["once.json"]
    gpu.run("repeats")
    gpu.run("floors")
    assert given() == ["standard-fast-28.json"]
    gpu.calls = []
    gpu.run("all")
    assert gpu.names.count("floors") == 1, "after the rest of standard"
    gpu.calls = []
    gpu.run("all")
    assert "floors" not in gpu.names


def test_selection_that_leaves_nothing_fails_only_where_the_user_made_it(gpu: Gpu) -> None:
    """A step's own expression must name cases."""
    gpu.codes = {"first": 5, "first-cat": 5}
    assert gpu.run("first") == FAILED
    assert gpu.run("first", select="cat") == DONE
