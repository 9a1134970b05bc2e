"""Two runs on one machine whose trainings alternate, A B B A, with one record each.

A machine drifts: it warms up, clocks fall, other load starts. If one side were measured after the
other, drift would look like a difference. Alternating sides share it.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

from cnnperf.catalog.specs import Tier
from cnnperf.errors import UsageError
from cnnperf.record.benchmark_json import write_benchmark_json
from cnnperf.record.journal import STAMP, ResultPaths, best_journal, choose_paths
from cnnperf.record.schema import CaseError, Record, now
from cnnperf.run.plan import make_plan
from cnnperf.run.progress import Display
from cnnperf.run.session import RunSession
from cnnperf.run.settings import RunSettings
from cnnperf.run.time_limit import OutOfTimeError, TimeLimit
from cnnperf.run.worker_process import WorkerError

NAMES = ("A", "B")


def default_folder(command: str) -> Path:
    """Return the folder for the records of a command that starts now."""
    return Path(".cnnperf") / f"{command}-{now().strftime(STAMP)}"


class Interleaved:
    """Two sides, from the first training to both records.

    `open_sides` makes it; the caller must `close` or `discard` it.
    """

    def __init__(self, a: RunSession, b: RunSession) -> None:
        self.sides = (a, b)
        self.limit = a.limit
        """Time limit of both sides; another call can continue what it leaves."""
        self.deadline: float | None = None
        """Monotonic time after which no training is started, in seconds."""
        self.case_ids: list[str] = []
        """The cases that both sides can train."""
        self._rounds: Counter[str] = Counter()
        """Repeats that are finished on both sides, by case."""
        self._over: set[str] = set()
        for case_id in a.plan.cases:
            problem = _problem(self.sides, case_id)
            if problem is None:
                self.case_ids.append(case_id)
            for side in self.sides:
                if problem is None:
                    side.begin(side.plan.cases[case_id])
                else:
                    side.skip(side.plan.cases[case_id], problem)

    @property
    def records(self) -> tuple[Record, Record]:
        """Return the records so far."""
        return self.sides[0].record, self.sides[1].record

    @property
    def paths(self) -> tuple[Path, Path]:
        """Return the files of both records."""
        return self.sides[0].paths.record, self.sides[1].paths.record

    @property
    def out_of_time(self) -> bool:
        """Return whether the deadline has passed."""
        return self.deadline is not None and time.monotonic() >= self.deadline

    @property
    def trainings(self) -> tuple[int, int]:
        """Return the number of finished trainings on each side."""
        a, b = (sum(len(case.repeats) for case in record.cases) for record in self.records)
        return a, b

    @property
    def untrained(self) -> list[str]:
        """Return the cases without a finished round."""
        return [id_ for id_ in self.case_ids if not self._rounds[id_] and id_ not in self._over]

    def train_to(self, repeats: int, case_ids: Iterable[str]) -> None:
        """Train these cases until each has so many repeats a side, or the time is up.

        Each round trains every case once, so that each case is spread over the whole time and all
        cases lose the same if time runs out. A case ends when a training fails. Repeats from a
        journal are not trained again.
        """
        wanted = list(case_ids)
        for index in range(repeats):
            for case_id in wanted:
                if self._rounds[case_id] > index or case_id in self._over:
                    continue
                if self.out_of_time:
                    return
                try:
                    self._round(case_id, index)
                except OutOfTimeError:
                    return

    def _round(self, case_id: str, index: int) -> None:
        """Train one repeat on each side; the order alternates between rounds."""
        for side in self.sides if index % 2 == 0 else self.sides[::-1]:
            try:
                self._train(side, case_id, index)
            except WorkerError as error:
                side.fail(side.plan.cases[case_id], error.as_case_error())
                self._over.add(case_id)
                for other in self.sides:
                    if other is not side:
                        other.finish(other.plan.cases[case_id])
                return
        self._rounds[case_id] += 1

    def _train(self, side: RunSession, case_id: str, index: int) -> None:
        planned = side.plan.cases[case_id]
        seed = planned.first_seed + index
        taken_over = (each for each in side.cases[case_id].repeats if each.seed == seed)
        repeat = next(taken_over, None)
        if repeat is None:
            with side.repeat(planned, seed) as run:
                run.prepare()
                run.train()
                repeat = run.finish()
            side.keep(planned, repeat)
        side.check(repeat)

    def discard(self) -> None:
        """Delete the journals and the empty folder of a pair that trained nothing."""
        for side in self.sides:
            side.journal.discard()
        _remove_if_empty(self.sides[0].paths.record.parent)

    def finish(self) -> None:
        """Mark every case with a finished round as complete."""
        for case_id in self.case_ids:
            if self._rounds[case_id] and case_id not in self._over:
                self._over.add(case_id)
                for side in self.sides:
                    side.finish(side.plan.cases[case_id])

    def close(self, *, keep_journals: bool = False) -> None:
        """Write both records, then delete the journals unless they are to be continued.

        Raises:
            UsageError: a record cannot be written; the message names the journals, which stay.
        """
        try:
            for side in self.sides:
                write_benchmark_json(side.record, side.paths.record)
        except UsageError as error:
            journals = " and ".join(str(side.paths.journal) for side in self.sides)
            for side in self.sides:
                side.journal.close()
            raise UsageError(
                f"{error}; the finished trainings are in {journals}: "
                "`cnnperf recover JOURNAL -o FILE` makes a record from one"
            ) from error
        for side in self.sides:
            if keep_journals:
                side.journal.close()
            else:
                side.journal.discard()
            side.drop_resumed()


def open_sides(
    settings: Sequence[RunSettings],
    case_ids: Sequence[str],
    tier: Tier,
    folder: Path,
    display: Display,
    *,
    resume: bool = False,
) -> Interleaved:
    """Open two runs of the same cases, after both interpreters have been checked.

    The folder gets a.json and b.json; with `resume` the stopped run in it is continued.

    Raises:
        UsageError: there is nothing to resume, an interpreter cannot train, no case can be trained
            here, or the records cannot be written. Nothing is left behind.
    """
    for name, asked in zip(NAMES, settings, strict=True):
        _check_interpreter(name, asked.python)
    limit = TimeLimit(settings[0].max_minutes)
    places = [_paths(folder, name, resume=resume) for name in NAMES]
    if resume and not any(paths.older_journals for paths in places):
        raise UsageError(
            f"{folder} has no stopped run to resume: expected the folder of its --out, with a "
            f"journal such as {places[0].journal.name}"
        )
    with ExitStack() as undo:
        undo.callback(_remove_if_empty, folder)
        sides = []
        for name, asked, paths in zip(NAMES, settings, places, strict=True):
            asked = replace(asked, resume=best_journal(paths.older_journals))
            side = RunSession(asked, tier, make_plan(case_ids, asked, tier), paths)
            undo.callback(side.journal.discard)
            side.side, side.display, side.limit = name, display, limit
            sides.append(side)
        problems = [_problem(sides, case_id) for case_id in case_ids]
        if problems[0] is not None and None not in problems:
            raise UsageError(problems[0].message)
        for side in sides:
            _look_at_machine(side)
        pair = Interleaved(*sides)
        undo.pop_all()
    return pair


def _check_interpreter(name: str, python: str | None) -> None:
    if python is not None and shutil.which(python) is None:
        raise UsageError(
            f"{name} ({python}) cannot be started: expected the path or the name of a Python, as "
            "in venv/bin/python"
        )


def _paths(folder: Path, name: str, *, resume: bool) -> ResultPaths:
    paths = choose_paths(folder.absolute() / f"{name.lower()}.json", folder)
    there = [path for path in (paths.record, *paths.older_journals) if path.exists()]
    if there and not resume:
        raise UsageError(f"{there[0]} exists: choose another folder with --out")
    return paths


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _problem(sides: Sequence[RunSession], case_id: str) -> CaseError | None:
    """Return why a case cannot be trained on both sides, or None."""
    return next(filter(None, (side.plan.cases[case_id].problem for side in sides)), None)


def _look_at_machine(side: RunSession) -> None:
    side.display.preparing(f"{side.side}: looking at this machine ...")
    try:
        side.look_at_machine()
    except UsageError as error:
        python = f" ({side.settings.python})" if side.settings.python else ""
        raise UsageError(f"{side.side}{python}: {error}") from error
    finally:
        side.display.close()
