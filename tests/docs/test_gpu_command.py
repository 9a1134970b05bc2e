"""`.ci/gpu`, tried on this machine: pieces that end in time, and go on where they were stopped.

The trainings are those of `tests/fake_python.py`; packages for pages and histories are hidden,
since the machines that this is for have none of them.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cnnperf.record.loading import load_record
from tests.examples import hide_packages, plain_terminal, python_with
from tests.fake_python import fake_python
from tests.pytest_plugin.project import wait_until

ROOT = Path(__file__).parents[2]

DONE, FAILED, USAGE, AGAIN = 0, 1, 2, 75

NOT_FOR_TRAINING = ("altair", "duckdb", "jinja2", "ruptures", "vl_convert")


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    plain_terminal(monkeypatch)


class Machine:
    """A folder in which pieces are run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        hiding = folder / "hiding"
        hiding.mkdir()
        self.environ = python_with(hide_packages(*NOT_FOR_TRAINING), hiding)
        self.started: list[subprocess.Popen[str]] = []

    def command(self, piece: str, python: str, *more: str, out: str = "out") -> list[str]:
        """Of a piece whose trainings are that interpreter's."""
        return [
            sys.executable, str(ROOT / ".ci" / "gpu"), piece, "--device", "cpu", "--tiny",
            "--wheels", str(self.folder / "no-wheels"), "--out", str(self.folder / out),
            *more, "--", f"--cnnperf-python={python}",
        ]  # fmt: skip

    def run(
        self, piece: str, python: str, *more: str, out: str = "out"
    ) -> subprocess.CompletedProcess[str]:
        """A piece to its end."""
        return subprocess.run(
            self.command(piece, python, *more, out=out),
            env=self.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            check=False,
        )  # fmt: skip

    def start(self, piece: str, python: str) -> subprocess.Popen[str]:
        """A piece that is going to be stopped."""
        process = subprocess.Popen(
            self.command(piece, python), env=self.environ, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, text=True, start_new_session=True,
        )  # fmt: skip
        self.started.append(process)
        return process

    def files(self, pattern: str, out: str = "out") -> list[Path]:
        """What lies in the machine's folder, below the hardware's."""
        return sorted((self.folder / out).glob(f"*/{pattern}"))


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A fresh one; nothing goes on after the test."""
    made = Machine(tmp_path)
    yield made
    for process in made.started:
        if process.poll() is None:
            process.kill()
            process.wait()


def _trainings(machine: Machine) -> int:
    journals = machine.files("**/*.jsonl")
    return sum(path.read_text().count('"kind":"repeat"') for path in journals)


def test_a_piece_that_was_killed_goes_on_elsewhere_and_is_done_once(machine: Machine) -> None:
    """What was finished is taken over from what is handed in, and the third call has nothing to do.

    In the end the noise of the trainings is told, and what was handed in is as it was.
    """
    slow = fake_python(machine.folder, "slow", noise={"modified_vgg-fast": 0.01}, free=1)
    process = machine.start("calibrate", slow)
    wait_until(lambda: _trainings(machine) >= 1 or process.poll() is not None, "one is finished")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    (machine.folder / "go-on").touch()
    journals = machine.files("calibrate/*.jsonl")
    before = [journal.read_bytes() for journal in journals]

    handed_in = ("--from", str(machine.folder / "out"))
    done = machine.run("calibrate", slow, *handed_in, out="elsewhere")
    assert done.returncode == DONE, done.stdout
    assert "A: resuming" in done.stdout
    assert "1 training (modified_vgg-digits-28-fast seed 0) taken over" in " ".join(
        done.stdout.split()
    )
    assert [path.name for path in machine.files("*", "elsewhere")] == [
        "calibrate-a.json", "calibrate-b.json", "calibrate.log", "noise.calibration.json",
    ]  # fmt: skip
    seeds = [
        [repeat.seed for repeat in load_record(path).cases[0].repeats]
        for path in machine.files("calibrate-?.json", "elsewhere")
    ]
    assert seeds == [[0, 1], [2, 3]]
    assert "smallest change" in done.stdout
    assert [journal.read_bytes() for journal in journals] == before

    handed_in = ("--from", str(machine.folder / "elsewhere"))
    again = machine.run("calibrate", "/no/python", *handed_in, out="third")
    assert again.returncode == DONE, again.stdout
    assert "done already" in again.stdout
    assert len(machine.files("calibrate-?.json", "third")) == 2


HASTY_CLOCK = """
import os, sys, time

if any(part.endswith(os.path.join(".ci", "gpu")) for part in sys.orig_argv):
    real = time.monotonic
    time.monotonic = lambda: real() + 510 * os.path.exists({log!r})
"""
"""That of `.ci/gpu` alone, by which eight and a half minutes are gone when a training has begun."""


def test_what_there_is_no_time_for_is_left_for_another_call(machine: Machine) -> None:
    """Nothing is begun in the last minute; the exit code says that it goes on."""
    python = fake_python(machine.folder, "python")
    clock = HASTY_CLOCK.format(log=str(machine.folder / "log.txt"))
    machine.environ = python_with(
        hide_packages(*NOT_FOR_TRAINING) + clock, machine.folder / "hiding"
    )
    done = machine.run("standard", python, "--minutes", "9")
    assert done.returncode == AGAIN, done.stdout
    assert done.stdout.count("no time left") == 3
    assert [path.name for path in machine.files("*.json")] == ["standard-fast-28.json"]
    assert "not all is done: call it again" in done.stdout


def test_floors_stand_beside_what_standard_has_measured(machine: Machine) -> None:
    """Whatever is there of it; a record of another machine would be refused, as this one is."""
    python = fake_python(machine.folder, "python")
    machine.run("standard", python, "--minutes", "1.2")
    (record,) = machine.files("standard-fast-28.json")
    done = machine.run("floors", python)
    assert done.returncode == FAILED, done.stdout
    assert f"--record {record}" in done.stdout
    assert "was measured on another machine (AMD EPYC 9654, 16 cores)" in " ".join(
        done.stdout.split()
    )

    for record in machine.files("standard-*.json"):
        record.unlink()
    done = machine.run("floors", python)
    assert done.returncode == DONE, done.stdout
    (found,) = machine.files("floors.json")
    cases = json.loads(found.read_text())["cases"]
    assert all(case["floor_seconds"] > 0 for case in cases)
    assert "modified_vgg-digits-28-fast" in [case["id"] for case in cases]


def test_a_case_that_fails_is_told_from_one_that_has_no_time(machine: Machine) -> None:
    """Going on would not mend it; its log tells why."""
    python = fake_python(machine.folder, "python", failing=("modified_vgg-fast",))
    done = machine.run("tuning", python)
    assert done.returncode == FAILED, done.stdout
    (log,) = machine.files("tuning.log")
    assert "the cat sat on the keyboard" in log.read_text()


@pytest.mark.parametrize("minutes", ["1", "nan", "-5", "soon"])
def test_minutes_that_are_none_get_a_sentence(machine: Machine, minutes: str) -> None:
    """Before anything is unpacked or trained."""
    done = machine.run("standard", "python", f"--minutes={minutes}")
    assert done.returncode == USAGE
    assert "--minutes" in done.stdout.splitlines()[-1]
    assert "Traceback" not in done.stdout
    assert not (machine.folder / "out").exists()


def test_every_piece_is_described_and_has_its_make_target() -> None:
    """In docs/gpu.md, in --help and in the Makefile."""
    text = subprocess.run(
        [sys.executable, str(ROOT / ".ci" / "gpu"), "--help"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    pieces = re.findall(r"^  ([a-z]+) {2,}\w", text.partition("options:")[0], re.MULTILINE)
    assert {"wheels", "tests", "standard", "calibrate", "profiles", "peers"} <= set(pieces)
    makefile, page = (ROOT / "Makefile").read_text(), (ROOT / "docs" / "gpu.md").read_text()
    targets = re.search(r"addprefix gpu-,([a-z ]+)", makefile)
    assert targets is not None
    assert targets[1].split() == pieces
    assert [piece for piece in pieces if f"gpu-{piece}" not in page] == []


def test_it_needs_nothing_but_the_standard_library_to_start() -> None:
    """The machine has no cnnperf yet when it begins."""
    done = subprocess.run(
        [sys.executable, "-S", "-I", str(ROOT / ".ci" / "gpu"), "--help"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_batch_system_that_announces_its_end_is_heeded(machine: Machine) -> None:
    """SIGTERM: the record is written in good order, and the journal stays."""
    slow = fake_python(machine.folder, "slow", free=1)
    process = machine.start("calibrate", slow)
    wait_until(lambda: _trainings(machine) >= 1 or process.poll() is not None, "one is finished")
    process.terminate()
    assert process.wait() == AGAIN
    (record,) = map(load_record, machine.files("calibrate/a.json"))
    assert record.interrupted
    assert len(record.cases[0].repeats) == 1
    assert len(machine.files("calibrate/*.jsonl")) == 2
