"""Run pieces, one step after another, until all are done or the time is up."""

from __future__ import annotations

import argparse
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pieces import ALL, PIECES, TESTED_FIRST, TINY, Step
from processes import run_python
from results import Results, journals_in, outcome_of, pack
from switch_table import switch_lines
from words import AGAIN, DONE, FAILED, FELL_BACK, ROOT, USAGE, say

LEAST_MINUTES = 1.0
"""With less time left no step starts: probing the machine alone takes half of this."""

NOTHING_SELECTED = 5
"""pytest's exit code if -k leaves nothing."""

DATASETS = ("mnist", "cifar10")


class Runner:
    """Runs the steps of pieces until all are done or the time is up.

    Args:
        asked: parsed command line.
        environ: variables of the processes.
        results: files of this machine and of an earlier call.
        deadline: end, in seconds of the monotonic clock.
    """

    def __init__(
        self, asked: argparse.Namespace, environ: dict[str, str], results: Results, deadline: float
    ) -> None:
        self.asked, self.environ, self.deadline = asked, environ, deadline
        self.results, self.folder = results, results.folder
        self.missing: set[str] = set()
        """Data sets that are not there."""
        self.outcomes: dict[str, int] = {}
        """Outcome of each step so far."""
        self.left_out: list[str] = []
        """Steps whose data set is missing."""

    def run(self, asked: str) -> int:
        """Run a piece, or all of them, and return the exit code."""
        pieces = ALL if asked == "all" else (asked,)
        datasets = {step.dataset for piece in pieces for step in PIECES.get(piece, ())}
        if not self.asked.tiny and (datasets or "calibrate" in pieces):
            with self._log("check"):
                self._look_for_data()
            if self.missing.issuperset(datasets or DATASETS):
                return say(self._missing_data(), USAGE)
        for piece in pieces:
            with self._log(piece):
                self._run_piece(piece)
            if FELL_BACK in self.outcomes.values():
                break
        return self._conclude()

    def _run_piece(self, piece: str) -> None:
        if piece in PIECES:
            self._train_all(PIECES[piece])
            if piece == "switches":
                names = {step.name: self._record(step) for step in PIECES[piece]}
                for line in switch_lines(names):
                    say(line, log=self.log)
            return
        if piece in ("graphs", "tests"):
            self._test_all(TESTED_FIRST[:1] if piece == "graphs" else cuda_test_files())
            return
        run = {"check": self._check, "floors": self._floors, "calibrate": self._calibrate}[piece]
        self.outcomes[piece] = run()

    def _conclude(self) -> int:
        """Print the final line and return the exit code."""
        left = f"; {self._missing_data()}" if self.left_out else ""
        fell_back, failed, waiting = (
            ", ".join(name for name, code in self.outcomes.items() if code == wanted)
            for wanted in (FELL_BACK, FAILED, AGAIN)
        )
        if fell_back:
            text = (
                f"stopped: engine fast fell back in {fell_back}, so nothing after it would mean "
                "much. Remove the cause (above) and run it again, or accept it with "
                "`-- --cnnperf-allow-fallback`"
            )
            return say(text + left, FAILED)
        if waiting:
            also = f" (failed: {failed})" if failed else ""
            return say(f"not finished: run it again to continue{also}{left}", AGAIN)
        return say((f"failed: {failed}" if failed else "done") + left, FAILED if failed else DONE)

    @contextmanager
    def _log(self, piece: str) -> Iterator[None]:
        self.log = (self.folder / f"{piece}.log").open("a", encoding="utf-8")
        with self.log:
            yield

    @property
    def minutes_left(self) -> float:
        """Minutes until this command should end."""
        return (self.deadline - time.monotonic()) / 60

    # --- data -----------------------------------------------------------------------------------

    def _look_for_data(self) -> None:
        """Find out which data sets are there, whole and undamaged."""
        where = ["--data-dir", str(self.asked.data)] if self.asked.data else []
        for name in DATASETS:
            if self._python("-m", "cnnperf.cli", "data", name, "--check", *where) != DONE:
                self.missing.add(name)

    def _missing_data(self) -> str:
        left = f"left out: {', '.join(self.left_out)}, for there is " if self.left_out else ""
        folder = f" --data-dir {self.asked.data}" if self.asked.data else ""
        names = " ".join(sorted(self.missing))
        return (
            f"{left}no data of {names}: `cnnperf data {names}{folder}` gets them, --data names them"
        )

    # --- trainings ------------------------------------------------------------------------------

    def _train_all(self, steps: Sequence[Step]) -> None:
        for step in steps:
            if step.dataset in self.missing:
                self.left_out.append(step.name)
                continue
            self.outcomes[step.name] = self._train_if_needed(step)
            if self.outcomes[step.name] == FELL_BACK:
                return

    def _train_if_needed(self, step: Step) -> int:
        outcome = outcome_of(self.results.hand_in(self._record(step).name))
        if outcome == DONE:
            return say(f"{step.name}: already done", DONE)
        if outcome == FAILED and self.asked.piece == "all":
            return say(f"{step.name}: failed in an earlier call; its piece tries it again", FAILED)
        if self.minutes_left < LEAST_MINUTES:
            return say(f"{step.name}: no time left", AGAIN)
        return self._train(step)

    def _record(self, step: Step) -> Path:
        """Return the path of a step's record; what -k selects has its own."""
        return self.folder / f"{step.name}{self.suffix}.json"

    @property
    def suffix(self) -> str:
        """The part of a file's name that says what the user selected; empty without -k."""
        words = re.sub(r"\W+", "-", self.asked.select or "").strip("-")
        return f"-{words}" if words else ""

    def _selection(self, own: str) -> list[str]:
        """Return -k with a step's own expression and the user's."""
        both = f"({own}) and ({self.asked.select})" if self.asked.select and own else ""
        expression = both or own or self.asked.select
        return ["-k", expression] if expression else []

    def _train(self, step: Step) -> int:
        record = self._record(step)
        journal = self.results.best_journal(record.stem)
        tiny = self.asked.tiny
        traces = self.folder / f"{record.stem}-traces"
        off = {} if step.switched_off is None else {"CNNPERF_FAST_OFF": step.switched_off}
        code = self._python(
            "-m", "pytest", (tiny and step.tiny_module) or step.module, "-p", "no:cacheprovider",
            *self._selection(step.tiny if tiny else step.select),
            f"--cnnperf-tier={'full' if tiny else step.tier}",
            f"--cnnperf-repeats={min(2, step.repeats) if tiny else step.repeats}",
            f"--cnnperf-device={self.asked.device}", "--cnnperf-require-data",
            f"--benchmark-json={record}", f"--cnnperf-max-minutes={self.minutes_left:.2f}",
            *([f"--cnnperf-data-dir={self.asked.data.absolute()}"] if self.asked.data else []),
            *([f"--cnnperf-resume={journal}"] if journal else []),
            *([f"--cnnperf-profile={traces}"] if step.profiled else []),
            *step.more, *(["--cnnperf-limit-steps=2"] if tiny else []), *self.asked.more,
            **off,
        )  # fmt: skip
        if traces.is_dir():
            pack(traces, traces.with_suffix(".zip"))
        if code == NOTHING_SELECTED and self.asked.select:
            return say(f"{step.name}: -k selects nothing of it", DONE)
        if code in (DONE, AGAIN):
            self.results.drop_journals(record.stem)
            if code == DONE:
                shutil.rmtree(traces, ignore_errors=True)
            return code
        return FELL_BACK if outcome_of(record) == FELL_BACK else FAILED

    # --- everything else ------------------------------------------------------------------------

    def _calibrate(self) -> int:
        """Run `cnnperf calibrate` in a folder of its own until it is finished."""
        name = f"calibrate{self.suffix}"
        left = {side: f"{name}-{side}.json" for side in "ab"}
        calibration = f"noise{self.suffix}.calibration.json"
        if all(self.results.hand_in(each).is_file() for each in (*left.values(), calibration)):
            return say("calibrate: already done", DONE)
        if self.minutes_left < LEAST_MINUTES:
            return say("calibrate: no time left", AGAIN)
        folder = self.results.folder_to_continue(name)
        own = " and ".join(["28 and fast", *(f"not {each}" for each in sorted(self.missing))])
        code = self._python(
            "-m", "cnnperf.cli", "calibrate",
            "--resume" if journals_in(folder) else "--out", str(folder),
            *self._selection(TINY if self.asked.tiny else own),
            "--tier", "full" if self.asked.tiny else "standard",
            "--repeats", "2" if self.asked.tiny else "10", "--device", self.asked.device,
            "--max-minutes", f"{self.minutes_left:.2f}", "-o", str(self.folder / calibration),
            *(["--data-dir", str(self.asked.data.absolute())] if self.asked.data else []),
            *(["--limit-steps", "2"] if self.asked.tiny else []),
            *(argument.replace("--cnnperf-", "--", 1) for argument in self.asked.more),
        )  # fmt: skip
        sides = {side: folder / f"{side}.json" for side in "ab"}
        if FELL_BACK in map(outcome_of, sides.values()):
            return FELL_BACK
        if code != DONE:
            return AGAIN if code == AGAIN else FAILED
        if {outcome_of(path) for path in sides.values()} != {DONE}:
            return FAILED
        for side, path in sides.items():
            path.replace(self.folder / left[side])
        shutil.rmtree(folder)
        return DONE

    def _floors(self) -> int:
        """Run `cnnperf floors` beside the records of `standard`, or else that of `once`.

        `all` runs it again only if there is something new beside which to show them.
        """
        by_piece = (
            [self.results.hand_in(self._record(step).name) for step in PIECES[piece]]
            for piece in ("standard", "once")
        )
        found = [[path for path in paths if path.is_file()] for paths in by_piece]
        records = found[0] or found[1]
        if self.asked.tiny:  # all its records have the same case
            records = records[:1]
        output = self.results.hand_in("floors.json")
        newest = max((path.stat().st_mtime for path in records), default=0.0)
        if self.asked.piece == "all" and output.is_file() and output.stat().st_mtime > newest:
            return say("floors: already done", DONE)
        if self.minutes_left < LEAST_MINUTES:
            return say("floors: no time left", AGAIN)
        code = self._python(
            "-m", "cnnperf.cli", "floors", "--device", self.asked.device,
            "--tier", "smoke" if self.asked.tiny else "standard", "-o", str(output),
            *(["-k", TINY] if self.asked.tiny and not records else []),
            *(argument for record in records for argument in ("--record", str(record))),
        )  # fmt: skip
        return DONE if code == DONE else FAILED

    def _check(self) -> int:
        """Show the machine and check the data."""
        self._python("-m", "cnnperf.cli", "env")
        self._look_for_data()
        for name in sorted(self.missing):
            say(f"{name} is missing: cases with it are left out", log=self.log)
        return FAILED if self.missing.issuperset(DATASETS) else DONE

    def _test_all(self, files: Sequence[str]) -> None:
        """Run the tests marked `cuda` of each file that has not passed yet."""
        if self.asked.device == "cuda":
            self.environ["CNNPERF_REQUIRE_CUDA"] = "1"
        if self.asked.data:
            self.environ["CNNPERF_TEST_DATA_DIR"] = str(self.asked.data.absolute())
        for file in files:
            name = "tests-" + "-".join(Path(file).with_suffix("").parts[1:]) + self.suffix
            self.outcomes[name] = self._test(file, name)

    def _test(self, file: str, name: str) -> int:
        """Run the tests of a file; its JUnit file's name says whether all have passed."""
        passed = self.results.hand_in(f"{name}.xml")
        failed = self.results.hand_in(f"{name}.failed.xml")
        if passed.is_file():
            return say(f"{name}: already passed", DONE)
        if failed.is_file() and self.asked.piece == "all":
            return say(f"{name}: failed in an earlier call; `tests` tries it again", FAILED)
        if self.minutes_left < LEAST_MINUTES:
            return say(f"{name}: no time left", AGAIN)
        unfinished = self.folder / f"{name}.part"  # tests that are interrupted write one, too
        code = self._python(
            "-m", "pytest", file, "-m", "cuda", "-p", "no:cacheprovider", "-ra", "--durations=10",
            f"--junitxml={unfinished}", *self._selection(""), *self.asked.more,
        )  # fmt: skip
        if code == NOTHING_SELECTED and self.asked.select:
            return say(f"{name}: -k selects nothing of it", DONE)
        if code not in (DONE, FAILED):
            return AGAIN if self.minutes_left <= 0 else FAILED
        failed.unlink(missing_ok=True)
        unfinished.replace(passed if code == DONE else failed)
        return code

    def _python(self, *arguments: str, **variables: str) -> int:
        return run_python(
            arguments, environ={**self.environ, **variables}, log=self.log,
            seconds=60 * self.minutes_left,
        )  # fmt: skip


def cuda_test_files() -> list[str]:
    """Return the files that have tests marked `cuda`, by value."""
    found = [
        path.relative_to(ROOT).as_posix()
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        if "mark.cuda" in path.read_text(encoding="utf-8")
    ]
    return [*TESTED_FIRST, *(path for path in found if path not in TESTED_FIRST)]
