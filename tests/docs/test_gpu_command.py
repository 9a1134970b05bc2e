"""`.ci/gpu` on this machine: pieces end in time and continue where they were stopped.

`tests/fake_python.py` stands in for the trainings. Packages for pages and histories are hidden,
because a machine with only torch lacks them.
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
    """A folder in which pieces run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        hiding = folder / "hiding"
        hiding.mkdir()
        self.environ = python_with(hide_packages(*NOT_FOR_TRAINING), hiding)
        self.started: list[subprocess.Popen[str]] = []

    def command(
        self, piece: str, python: str, *more: str, out: str = "out", select: str | None = None
    ) -> list[str]:
        """Return the command of a piece that trains with the interpreter `python`."""
        return [
            sys.executable, str(ROOT / ".ci" / "gpu"), piece, "--device", "cpu", "--tiny",
            "--wheels", str(self.folder / "no-wheels"), "--out", str(self.folder / out),
            *more, "--", f"--cnnperf-python={python}", *(["-k", select] if select else []),
        ]  # fmt: skip

    def run(
        self, piece: str, python: str, *more: str, out: str = "out", select: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a piece to its end."""
        return subprocess.run(
            self.command(piece, python, *more, out=out, select=select),
            env=self.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            check=False,
        )  # fmt: skip

    def start(self, piece: str, python: str) -> subprocess.Popen[str]:
        """Start a piece that the test stops."""
        process = subprocess.Popen(
            self.command(piece, python), env=self.environ, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, text=True, start_new_session=True,
        )  # fmt: skip
        self.started.append(process)
        return process

    def files(self, pattern: str, out: str = "out") -> list[Path]:
        """Return the files in the hardware's folder that match."""
        return sorted((self.folder / out).glob(f"*/{pattern}"))


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """Return a new machine; its processes end with the test."""
    made = Machine(tmp_path)
    yield made
    for process in made.started:
        if process.poll() is None:
            process.kill()
            process.wait()


def _trainings(machine: Machine) -> int:
    journals = machine.files("**/*.jsonl")
    return sum(path.read_text().count('"kind":"repeat"') for path in journals)


def test_killed_piece_continues_in_another_folder_and_is_done_once(machine: Machine) -> None:
    """Finished trainings are taken over from --from; a third call has nothing left to do.

    The second call reports the noise of the trainings and does not change the folder of --from.
    What it packs into one file is all that the third one has.
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
    packed = machine.folder / "new" / "results.zip"
    done = machine.run("calibrate", slow, *handed_in, f"--pack={packed}", out="elsewhere")
    assert done.returncode == DONE, done.stdout
    assert "A: resuming" in done.stdout
    assert "1 training (modified_vgg-digits-28-brief-fast seed 0) taken over" in " ".join(
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

    again = machine.run("calibrate", "/no/python", f"--from={packed}", out="third")
    assert again.returncode == DONE, again.stdout
    assert "already done" in again.stdout
    assert len(machine.files("calibrate-?.json", "third")) == 2


HASTY_CLOCK = """
import os, sys, time

if any(part.endswith(os.path.join(".ci", "gpu")) for part in sys.orig_argv):
    real = time.monotonic
    time.monotonic = lambda: real() + 510 * os.path.exists({log!r})
"""
"""Clock of `.ci/gpu` only: 8.5 minutes have passed as soon as a training has started."""


def test_step_without_time_left_is_for_another_call(machine: Machine) -> None:
    """No step starts in the last minute; the exit code is 75."""
    python = fake_python(machine.folder, "python")
    clock = HASTY_CLOCK.format(log=str(machine.folder / "log.txt"))
    machine.environ = python_with(
        hide_packages(*NOT_FOR_TRAINING) + clock, machine.folder / "hiding"
    )
    done = machine.run("standard", python, "--minutes", "9")
    assert done.returncode == AGAIN, done.stdout
    assert done.stdout.count("no time left") == 5
    assert [path.name for path in machine.files("*.json")] == ["standard-fast-28.json"]
    assert "not finished: run it again to continue" in done.stdout


def test_floors_are_measured_without_records_too(machine: Machine) -> None:
    """They need no data and no training."""
    done = machine.run("floors", "python")
    assert done.returncode == DONE, done.stdout
    (found,) = machine.files("floors.json")
    (case,) = json.loads(found.read_text())["cases"]
    assert case["id"] == "modified_vgg-digits-28-brief-fast"
    assert case["floor_seconds"] > 0


def test_failed_case_ends_with_1_and_not_with_75(machine: Machine) -> None:
    """Running it again would not help; the log has the reason, and the user's own -k."""
    python = fake_python(machine.folder, "python", failing=("modified_vgg-fast",))
    done = machine.run("tuning", python, select="modified_vgg")
    assert done.returncode == FAILED, done.stdout
    assert done.stdout.splitlines()[-1] == "gpu: failed: sweep-28"
    (log,) = machine.files("tuning.log")
    assert "the cat sat on the keyboard" in log.read_text()
    assert " -k (modified_vgg-digits-28-brief-fast) and (modified_vgg) " in log.read_text()
    assert [path.name for path in machine.files("*.json")] == ["sweep-28-modified_vgg.json"]


def test_all_stops_when_a_training_fell_back(machine: Machine) -> None:
    """The next call trains it again, which passes where the cause is gone."""
    kinds = {"modified_vgg-fast": ("not_compiled",)}
    python = fake_python(machine.folder, "python", warnings=kinds, device="cuda:0")
    done = machine.run("all", python)
    assert done.returncode == FAILED, done.stdout
    assert "gpu: stopped: engine fast fell back in first, " in done.stdout.splitlines()[-1]
    assert [path.name for path in machine.files("*.log")] == ["first.log"]
    python = fake_python(machine.folder, "python")
    again = machine.run("first", python)
    assert again.returncode == DONE, again.stdout
    assert "1 training (modified_vgg-digits-28-brief-fast seed 0) trained again" in " ".join(
        again.stdout.split()
    )


def test_source_that_is_no_archive_ends_with_2_and_one_sentence(machine: Machine) -> None:
    """It is named before anything starts."""
    (machine.folder / "results.zip").write_text("a file of another kind")
    done = machine.run("standard", "python", f"--from={machine.folder / 'results.zip'}")
    assert done.returncode == USAGE
    assert done.stdout.splitlines() == [
        "gpu: File is not a zip file: name another place by --out, --from or --pack"
    ]


@pytest.mark.parametrize("minutes", ["1", "nan", "-5", "soon"])
def test_invalid_minutes_end_with_2_and_one_sentence(machine: Machine, minutes: str) -> None:
    """Nothing is unpacked or trained before."""
    done = machine.run("standard", "python", f"--minutes={minutes}")
    assert done.returncode == USAGE
    assert "--minutes" in done.stdout.splitlines()[-1]
    assert "Traceback" not in done.stdout
    assert not (machine.folder / "out").exists()


def test_every_piece_is_documented_and_has_a_make_target() -> None:
    """It is in docs/gpu.md, in --help and in the Makefile."""
    text = subprocess.run(
        [sys.executable, str(ROOT / ".ci" / "gpu"), "--help"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    pieces = re.findall(r"^  ([a-z]+) {2,}\w", text.partition("options:")[0], re.MULTILINE)
    assert {"wheels", "all", "first", "tests", "switches", "standard", "peers"} <= set(pieces)
    makefile, page = (ROOT / "Makefile").read_text(), (ROOT / "docs" / "gpu.md").read_text()
    targets = re.search(r"addprefix gpu-,([a-z ]+)", makefile)
    assert targets is not None
    assert targets[1].split() == pieces
    assert [piece for piece in pieces if f"gpu-{piece}" not in page] == []


def test_it_starts_with_the_standard_library_alone() -> None:
    """The machine has no cnnperf at the start."""
    done = subprocess.run(
        [sys.executable, "-S", "-I", str(ROOT / ".ci" / "gpu"), "--help"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_sigterm_leaves_a_valid_record_and_the_journals(machine: Machine) -> None:
    """A batch system sends SIGTERM before it kills."""
    slow = fake_python(machine.folder, "slow", free=1)
    process = machine.start("calibrate", slow)
    wait_until(lambda: _trainings(machine) >= 1 or process.poll() is not None, "one is finished")
    process.terminate()
    assert process.wait() == AGAIN
    (record,) = map(load_record, machine.files("calibrate/a.json"))
    assert record.interrupted
    assert len(record.cases[0].repeats) == 1
    assert len(machine.files("calibrate/*.jsonl")) == 2
