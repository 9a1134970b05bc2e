"""Run the steps of a piece, one after another, until all are done or the time is up."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from pieces import PIECES, Step
from words import AGAIN, DONE, FAILED, ROOT, say

LEAST_MINUTES = 1.0
"""With less time left no step starts: probing the machine alone takes half of this."""
GRACE_SECONDS = 30.0
"""Time beyond its minutes after which a step is interrupted, and after that killed. pytest ends in
time by itself, unless it hangs before training."""

CALIBRATED = ("calibrate-a.json", "calibrate-b.json", "noise.calibration.json")
"""Files that `calibrate` leaves."""


class Runner:
    """Runs the steps of a piece until all are done or the time is up.

    Args:
        asked: parsed command line.
        environ: variables of the processes.
        folder: results of this machine.
        deadline: end, in seconds of the monotonic clock.
    """

    def __init__(
        self, asked: argparse.Namespace, environ: dict[str, str], folder: Path, deadline: float
    ) -> None:
        self.asked, self.environ, self.folder, self.deadline = asked, environ, folder, deadline
        source = asked.source and asked.source.absolute() / folder.name
        self.source: Path = source if source and source != folder else folder

    def run(self, piece: str) -> int:
        """Run one piece and return its exit code."""
        with self._log(piece):
            if piece == "check":
                return self._check()
            if piece == "tests":
                return self._tests()
            if piece == "floors":
                return self._floors()
            if piece == "calibrate":
                return _outcome(self._calibrate())
            outcomes = list(self._steps(PIECES[piece]))
            if piece == "profiles":
                self._pack_traces()
            return _outcome(FAILED if FAILED in outcomes else max(outcomes))

    @contextmanager
    def _log(self, piece: str) -> Iterator[None]:
        self.log = (self.folder / f"{piece}.log").open("a", encoding="utf-8")
        with self.log:
            yield

    @property
    def minutes_left(self) -> float:
        """Minutes until this command should end."""
        return (self.deadline - time.monotonic()) / 60

    def _steps(self, steps: Sequence[Step]) -> Iterator[int]:
        for step in steps:
            if self._take_over(step):
                say(f"{step.name}: already done")
                yield DONE
            elif self.minutes_left < LEAST_MINUTES:
                say(f"{step.name}: no time left")
                yield AGAIN
            else:
                yield self._train(step)

    def _train(self, step: Step) -> int:
        record = self.folder / f"{step.name}.json"
        journal = self._best_journal(step)
        module = step.tiny_module if self.asked.tiny else step.module
        code = self._python(
            "-m", "pytest", module, "-p", "no:cacheprovider",
            "-k", step.tiny if self.asked.tiny else step.select,
            f"--cnnperf-tier={'full' if self.asked.tiny else step.tier}",
            f"--cnnperf-repeats={min(2, step.repeats) if self.asked.tiny else step.repeats}",
            f"--cnnperf-device={self.asked.device}", "--cnnperf-require-data",
            f"--benchmark-json={record}", f"--cnnperf-max-minutes={self.minutes_left:.2f}",
            *([f"--cnnperf-data-dir={self.asked.data.absolute()}"] if self.asked.data else []),
            *([f"--cnnperf-resume={journal}"] if journal else []),
            *([f"--cnnperf-profile={self.traces}"] if step.name == "profiles" else []),
            *step.more, *(["--cnnperf-limit-steps=2"] if self.asked.tiny else []), *self.asked.more,
        )  # fmt: skip
        if code in (DONE, AGAIN):
            self._drop_journals(step)
        return code if code in (DONE, AGAIN) else FAILED

    @property
    def traces(self) -> Path:
        """Folder of the profiles until they are packed."""
        return self.folder / "traces"

    def _take_over(self, step: Step) -> bool:
        """Return whether a step's record is complete here or in --from, and copy it here if so."""
        name = f"{step.name}.json"
        for place in dict.fromkeys((self.folder, self.source)):
            if _is_whole(place / name):
                if place != self.folder:
                    shutil.copy2(place / name, self.folder / name)
                return True
        return False

    def _journals(self, step: Step, *places: Path) -> list[Path]:
        pattern = re.compile(re.escape(step.name) + r"-\d{8}-\d{6}(-\d+)?\.journal\.jsonl")
        found = [path for place in places if place.is_dir() for path in place.iterdir()]
        return [path for path in found if pattern.fullmatch(path.name)]

    def _best_journal(self, step: Step) -> Path | None:
        """Return the journal with the most trainings: a run killed early has not copied them all.

        A journal from --from is copied, because the run that continues it deletes it at the end.
        """
        journals = self._journals(step, *dict.fromkeys((self.folder, self.source)))
        best = max(filter(_trainings, journals), key=_trainings, default=None)
        if best is None or best.parent == self.folder:
            return best
        return Path(shutil.copyfile(best, self.folder / best.name))

    def _drop_journals(self, step: Step) -> None:
        """Delete all journals but the best, which contains the others; with a full record, all."""
        best = max(self._journals(step, self.folder), key=_trainings, default=None)
        whole = _is_whole(self.folder / f"{step.name}.json")
        for path in self._journals(step, self.folder):
            if whole or path != best:
                path.unlink()

    def _pack_traces(self) -> None:
        """Pack the profiles into one file."""
        if self.traces.is_dir():
            with tarfile.open(self.folder / "profiles-traces.tar.gz", "w:gz") as archive:
                archive.add(self.traces, arcname="traces")
            shutil.rmtree(self.traces)

    def _calibrate(self) -> int:
        """Run `cnnperf calibrate` in a folder of its own until it is finished."""
        here = {name: self._hand_in(name) for name in CALIBRATED}
        if all(here.values()):
            return say("calibrate: already done", DONE)
        if self.minutes_left < LEAST_MINUTES:
            return say("calibrate: no time left", AGAIN)
        folder = self._going_on_in("calibrate")
        place = "--resume" if _journals_in(folder) else "--out"
        code = self._python(
            "-m", "cnnperf.cli", "calibrate", place, str(folder),
            "-k", "modified_vgg-digits-28-fast" if self.asked.tiny else "28 and fast",
            "--tier", "full" if self.asked.tiny else "standard",
            "--repeats", "2" if self.asked.tiny else "10", "--device", self.asked.device,
            "--max-minutes", f"{self.minutes_left:.2f}", "-o", str(self.folder / CALIBRATED[-1]),
            *(["--data-dir", str(self.asked.data.absolute())] if self.asked.data else []),
            *(["--limit-steps", "2"] if self.asked.tiny else []),
            *(argument.replace("--cnnperf-", "--", 1) for argument in self.asked.more),
        )  # fmt: skip
        if code != DONE:
            return AGAIN if code == AGAIN else FAILED
        if not all(_is_whole(folder / name) for name in ("a.json", "b.json")):
            return FAILED
        for side in "ab":
            (folder / f"{side}.json").replace(self.folder / f"calibrate-{side}.json")
        shutil.rmtree(folder)
        return DONE

    def _hand_in(self, name: str) -> bool:
        """Copy a file from --from if it is there; return whether it is here."""
        if self.source != self.folder and (self.source / name).is_file():
            shutil.copy2(self.source / name, self.folder / name)
        return (self.folder / name).is_file()

    def _going_on_in(self, name: str) -> Path:
        """Return a folder with the journals to continue, copied from --from if there are none."""
        folder, handed_in = self.folder / name, self.source / name
        if not _journals_in(folder):
            shutil.rmtree(folder, ignore_errors=True)
            if _journals_in(handed_in):
                shutil.copytree(handed_in, folder)
        return folder

    def _floors(self) -> int:
        """Run `cnnperf floors` beside the records that `standard` has made so far."""
        names = [f"{step.name}.json" for step in PIECES["standard"]]
        places = dict.fromkeys((self.folder, self.source))
        found = [next((p / name for p in places if (p / name).is_file()), None) for name in names]
        records = [str(path) for path in found if path is not None]
        if self.asked.tiny:  # all its records have the same case
            records = records[:1]
        code = self._python(
            "-m", "cnnperf.cli", "floors", "--device", self.asked.device,
            "--tier", "smoke" if self.asked.tiny else "standard",
            "-o", str(self.folder / "floors.json"),
            *(argument for record in records for argument in ("--record", record)),
        )  # fmt: skip
        return DONE if code == DONE else FAILED

    def _check(self) -> int:
        """Show the machine and check the data."""
        self._python("-m", "cnnperf.cli", "env")
        where = ["--data-dir", str(self.asked.data)] if self.asked.data else []
        sets = [] if self.asked.tiny else ["mnist", "cifar10"]
        return self._python("-m", "cnnperf.cli", "data", *sets, "digits", "--check", *where)

    def _tests(self) -> int:
        """Run all tests marked `cuda`."""
        files = [
            str(path.relative_to(ROOT))
            for path in sorted((ROOT / "tests").rglob("test_*.py"))
            if "mark.cuda" in path.read_text(encoding="utf-8")
        ]
        if self.asked.device == "cuda":
            self.environ["CNNPERF_REQUIRE_CUDA"] = "1"
        if self.asked.data:
            self.environ["CNNPERF_TEST_DATA_DIR"] = str(self.asked.data.absolute())
        code = self._python(
            "-m", "pytest", *files, "-m", "cuda", "-p", "no:cacheprovider", "-ra", "--durations=10",
            f"--junitxml={self.folder / 'tests.xml'}", *self.asked.more,
        )  # fmt: skip
        return DONE if code == DONE else FAILED

    def _python(self, *arguments: str) -> int:
        """Run this Python in the checkout, output to terminal and log; return its exit code."""
        command = [sys.executable, *arguments]
        say(f"$ {' '.join(arguments)}", log=self.log)
        process = subprocess.Popen(
            command, cwd=ROOT, env=self.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace",
        )  # fmt: skip
        with _ended_in_time(process, 60 * self.minutes_left + GRACE_SECONDS):
            assert process.stdout is not None
            for line in process.stdout:
                sys.stdout.write(line)
                sys.stdout.flush()
                self.log.write(line)
        return process.wait()


class Terminated(KeyboardInterrupt):
    """Raised on SIGTERM, which a batch system sends before it kills."""


def _heed_terminate(_number: int, _frame: object) -> None:
    raise Terminated


@contextmanager
def _ended_in_time(process: subprocess.Popen[str], seconds: float) -> Iterator[None]:
    """Interrupt a process that takes too long, and kill it if it ignores that.

    Ctrl-C reaches both processes; SIGTERM may reach only this one.
    """
    interrupt = threading.Timer(seconds, process.send_signal, [signal.SIGINT])
    kill = threading.Timer(seconds + GRACE_SECONDS, process.kill)
    before = signal.signal(signal.SIGTERM, _heed_terminate)
    for timer in (interrupt, kill):
        timer.daemon = True
        timer.start()
    try:
        yield
    except BaseException as reason:
        if not isinstance(reason, KeyboardInterrupt) or isinstance(reason, Terminated):
            process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=GRACE_SECONDS)  # a full pipe must not block it
        process.kill()
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
        interrupt.cancel()
        kill.cancel()


def _outcome(code: int) -> int:
    """Print the final line of a piece that trains and return its exit code."""
    words = {DONE: "done", AGAIN: "not finished: run it again to continue"}
    return say(words.get(code, "failed"), code)


def _journals_in(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*.journal.jsonl") if path.stat().st_size]


def _is_whole(record: Path) -> bool:
    """Return whether a record has every planned training and no failed case."""
    try:
        content = json.loads(record.read_bytes())["cnnperf"]
        outcomes = {case["outcome"] for case in content["cases"]}
        return not content["interrupted"] and outcomes == {"passed"}
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _trainings(journal: Path) -> int:
    return journal.read_bytes().count(b'"kind":"repeat"')
