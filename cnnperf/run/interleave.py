"""Two runs on one machine whose trainings alternate, A B B A, and leave a record each.

Torch-free. A machine drifts: it warms up, its clocks fall, somebody else begins to work. Where one
side is measured after the other, that is taken for a difference between them; where they alternate,
it meets both alike.
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
from cnnperf.record.paths import STAMP, ResultPaths, best_journal, choose_paths
from cnnperf.record.schema import CaseError, Record, now
from cnnperf.run.plan import make_plan
from cnnperf.run.progress import Display
from cnnperf.run.session import RunSession
from cnnperf.run.settings import RunSettings
from cnnperf.run.time_limit import OutOfTimeError, TimeLimit
from cnnperf.run.worker_process import WorkerError

NAMES = ("A", "B")


def default_folder(command: str) -> Path:
    """Where the records of a command that starts now go, so that none replaces another."""
    return Path(".cnnperf") / f"{command}-{now().strftime(STAMP)}"


class Interleaved:
    """Two sides, from the first training to both records.

    Make it with `open_sides`; `close` it whatever happens.
    """

    def __init__(self, a: RunSession, b: RunSession) -> None:
        self.sides = (a, b)
        self.limit = a.limit
        """Of both sides: what has no time left is for another call, which takes up what is done."""
        self.deadline: float | None = None
        """By the monotonic clock; nothing is started after it."""
        self._ids: list[str] = []
        self._rounds: Counter[str] = Counter()
        """Finished on both sides, by case."""
        self._over: set[str] = set()
        for case_id in a.plan.cases:
            self._begin(case_id)

    def _begin(self, case_id: str) -> None:
        """Start a case on both sides, or note why one of them cannot train it."""
        problem = _problem(self.sides, case_id)
        if problem is None:
            self._ids.append(case_id)
        for side in self.sides:
            if problem is None:
                side.begin(side.plan.cases[case_id])
            else:
                side.skip(side.plan.cases[case_id], problem)

    @property
    def case_ids(self) -> list[str]:
        """The cases that can be trained."""
        return list(self._ids)

    @property
    def records(self) -> tuple[Record, Record]:
        """What has been measured so far."""
        return self.sides[0].record, self.sides[1].record

    @property
    def paths(self) -> tuple[Path, Path]:
        """Where both records go."""
        return self.sides[0].paths.record, self.sides[1].paths.record

    @property
    def out_of_time(self) -> bool:
        """Whether nothing more is to be started."""
        return self.deadline is not None and time.monotonic() >= self.deadline

    @property
    def trainings(self) -> tuple[int, int]:
        """Finished so far, on each side."""
        a, b = (sum(len(case.repeats) for case in record.cases) for record in self.records)
        return a, b

    @property
    def untrained(self) -> list[str]:
        """Cases for which there was no time at all."""
        return [id_ for id_ in self._ids if not self._rounds[id_] and id_ not in self._over]

    def train_to(self, repeats: int, case_ids: Iterable[str]) -> None:
        """Train these cases until each has so many repeats a side, or the time is up.

        Round after round through all of them, so that each case is spread over the whole time, and
        time that runs out is missed by all alike. A case whose training fails is over. What was
        taken over from a journal is not trained again.
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
        """One repeat on each side; the one that went last goes first in the next round."""
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
        if any(repeat.seed == seed for repeat in side.cases[case_id].repeats):
            return
        with side.repeat(planned, seed) as run:
            run.prepare()
            run.train()
            repeat = run.finish()
        side.keep(planned, repeat)

    def discard(self) -> None:
        """Leave nothing behind: for a pair of which nothing was trained."""
        for side in self.sides:
            side.journal.discard()
        _remove_if_empty(self.sides[0].paths.record.parent)

    def finish(self) -> None:
        """Note that every case that was begun has all the repeats that were wanted of it."""
        for case_id in self._ids:
            if self._rounds[case_id] and case_id not in self._over:
                self._over.add(case_id)
                for side in self.sides:
                    side.finish(side.plan.cases[case_id])

    def close(self, *, keep_journals: bool = False) -> None:
        """Write both records; only then the journals go, unless somebody is to go on with them.

        Raises:
            UsageError: a record cannot be written; names the journals, which are kept.
        """
        try:
            for side in self.sides:
                write_benchmark_json(side.record, side.paths.record)
        except UsageError as error:
            journals = " and ".join(str(side.paths.journal) for side in self.sides)
            for side in self.sides:
                side.journal.close()
            raise UsageError(
                f"{error}; every finished training is in {journals}: "
                "`cnnperf recover JOURNAL -o FILE` makes a record of one"
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
    """Two runs of the same cases, once both interpreters have said that they can train.

    Args:
        settings: of A and of B.
        case_ids: what to train, in order.
        tier: of the records.
        folder: where a.json and b.json go.
        display: told of both.
        resume: whether to go on with what was stopped in that folder.

    Raises:
        UsageError: there is nothing to go on with, an interpreter cannot train, no case can be
            trained here, or the records cannot be written. Nothing is left behind then.
    """
    for name, asked in zip(NAMES, settings, strict=True):
        _check_interpreter(name, asked.python)
    limit = TimeLimit(settings[0].max_minutes)
    places = [_paths(folder, name, resume=resume) for name in NAMES]
    if resume and not any(paths.older_journals for paths in places):
        raise UsageError(
            f"nothing that was stopped is in {folder}: expected the folder that --out named then, "
            f"with {places[0].journal.name} or the like in it"
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
        _check_something_runs(sides)
        for side in sides:
            _look_at_machine(side)
        pair = Interleaved(*sides)
        undo.pop_all()
    return pair


def _check_interpreter(name: str, python: str | None) -> None:
    """Find a mistyped path before anything slow."""
    if python is not None and shutil.which(python) is None:
        raise UsageError(
            f"{name} ({python}) cannot be started: expected the path or the name of a Python, as "
            "in venv/bin/python"
        )


def _paths(folder: Path, name: str, *, resume: bool) -> ResultPaths:
    """Of one side.

    Raises:
        UsageError: there is a record or a journal already, and nobody asked to go on with it.
    """
    paths = choose_paths(folder.absolute() / f"{name.lower()}.json", folder)
    there = [path for path in (paths.record, *paths.older_journals) if path.exists()]
    if there and not resume:
        raise UsageError(f"{there[0]} exists: choose another folder with --out")
    return paths


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _problem(sides: Sequence[RunSession], case_id: str) -> CaseError | None:
    """Why a case cannot be trained on both sides."""
    return next(filter(None, (side.plan.cases[case_id].problem for side in sides)), None)


def _check_something_runs(sides: Sequence[RunSession]) -> None:
    """Where no case has its data or its package, the first reason is the answer."""
    problems = [_problem(sides, case_id) for case_id in sides[0].plan.cases]
    first = problems[0]
    if first is not None and None not in problems:
        raise UsageError(first.message)


def _look_at_machine(side: RunSession) -> None:
    side.display.preparing(f"{side.side}: looking at this machine ...")
    try:
        side.look_at_machine()
    except UsageError as error:
        python = f" ({side.settings.python})" if side.settings.python else ""
        raise UsageError(f"{side.side}{python}: {error}") from error
    finally:
        side.display.close()
