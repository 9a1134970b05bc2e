"""One run: the plan, the journal and the record, and the training of each case in its turn.

Torch-free. The plugin calls this; nothing here knows pytest's hooks.
"""

from __future__ import annotations

import importlib.util
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cnnperf.catalog.specs import Tier
from cnnperf.errors import UsageError
from cnnperf.record.journal import (
    Journal,
    JournalHeader,
    OutcomeEntry,
    RepeatEntry,
    add_repeat,
    new_case_record,
    read_journal,
)
from cnnperf.record.messages import ProbeJob, ProbeResult, TrainJob
from cnnperf.record.paths import ResultPaths, check_record_path
from cnnperf.record.schema import CaseError, CaseRecord, Record, Repeat, now
from cnnperf.run.plan import (
    Plan,
    PlannedCase,
    estimate_repeat_seconds,
    finds_accelerator,
    plan_digest,
)
from cnnperf.run.progress import Display, Place, Silent
from cnnperf.run.repeat import RepeatRun
from cnnperf.run.resume import Resumed, read_resumed
from cnnperf.run.settings import RunSettings
from cnnperf.run.time_limit import OutOfTimeError, TimeLimit
from cnnperf.run.worker_process import WorkerError, probe

TRAIN_PACKAGES = ("torch", "torchvision", "sklearn")


def missing_packages() -> list[str]:
    """What this interpreter lacks for training; found without importing any of it."""
    return [name for name in TRAIN_PACKAGES if importlib.util.find_spec(name) is None]


class RunSession:
    """The state of a run, from the moment its cases are known.

    Call `look_at_machine` first: nothing else works before.
    """

    probed: ProbeResult

    def __init__(self, settings: RunSettings, tier: Tier, plan: Plan, paths: ResultPaths) -> None:
        self.settings = settings
        self.tier = tier
        self.plan = plan
        self.paths = paths
        self.created = now()
        self.display: Display = Silent()
        self.side: str | None = None
        """Where two runs alternate: what people call this one."""
        self.command: str | None = None
        """How the run was called, for its record."""
        self.limit = TimeLimit(None)
        self.trained = 0
        """Trainings that this very run has finished."""
        self.cases: dict[str, CaseRecord] = {}
        self.resumed: Resumed | None = None
        self._ended: set[str] = set()
        check_record_path(paths.record)
        if settings.resume is not None:
            read_journal(settings.resume)  # what is wrong with it is found before anything slow
        self.journal = Journal(paths.journal)

    def look_at_machine(self) -> None:
        """Ask a worker what this machine is; this fails where training could not work either."""
        settings = self.settings
        job = ProbeJob(
            device=settings.device,
            cases=tuple(planned.case for planned in self.plan.runnable),
            modules=settings.modules,
            python_path=settings.python_path,
            measure_peak=bool(self.plan.runnable),
            deterministic=settings.deterministic,
        )
        self.probed = probe(job, python=settings.python, timeout_seconds=settings.timeout)
        self._check_accelerator_is_used()
        self.journal.append(
            JournalHeader(
                created=self.created,
                tier=self.tier,
                command=self.command,
                environment=self.probed.environment,
                planned=tuple(self.plan.cases),
            )
        )
        if settings.resume is not None:
            self._resume(settings.resume)

    def _check_accelerator_is_used(self) -> None:
        """A GPU that torch cannot use would silently turn hours of training into days."""
        on_cpu = self.probed.device == "cpu" and self.plan.runnable
        if self.settings.device == "auto" and on_cpu and finds_accelerator():
            shown = os.environ.get("CUDA_VISIBLE_DEVICES")
            look = f"see that CUDA_VISIBLE_DEVICES={shown} names one that is there, " * bool(shown)
            raise UsageError(
                f"a GPU is here, but torch {self.probed.environment.software.torch} cannot use "
                f"it: {look}install a build of torch for it, or say --cnnperf-device=cpu"
            )

    def _resume(self, path: Path) -> None:
        """Copy what fits into this run's journal at once, so that a second stop loses nothing."""
        self.resumed = read_resumed(path, self.plan, self.probed)
        for (case_id, _), entry in self.resumed.fitting.items():
            self._keep(self.plan.cases[case_id], entry.repeat)

    @property
    def record(self) -> Record:
        """What has been measured so far; a case that was only begun is left out."""
        begun = [case for case in self.cases.values() if case.repeats or case.id in self._ended]
        return Record(
            created=self.created,
            tier=self.tier,
            command=self.command,
            interrupted=self._ended != set(self.plan.cases),
            environment=self.probed.environment,
            cases=begun,
        )

    def begin(self, planned: PlannedCase) -> list[Repeat]:
        """Start a case, from nothing or from what was taken over; returns the latter.

        A test that is run a second time starts its case again, too.
        """
        fitting = self.resumed.fitting if self.resumed else {}
        taken = [
            fitting[planned.case.id, seed].repeat
            for seed in planned.seeds
            if (planned.case.id, seed) in fitting
        ]
        self.cases.pop(planned.case.id, None)
        record = self._case_record(planned)
        for repeat in taken:
            add_repeat(record, planned.case, repeat)
        return taken

    @property
    def taken_over(self) -> Counter[str]:
        """Trainings that the resumed journal spares, by case id."""
        return Counter(case_id for case_id, _ in (self.resumed.fitting if self.resumed else ()))

    @property
    def left(self) -> int:
        """Trainings that this run was to do and has not; a failed case leaves none."""
        waiting = [planned for planned in self.plan.runnable if planned.case.id not in self._ended]
        return sum(
            planned.repeats - len(self.cases[planned.case.id].repeats)
            if planned.case.id in self.cases
            else planned.repeats
            for planned in waiting
        )

    def skip(self, planned: PlannedCase, problem: CaseError) -> None:
        """Note that a case cannot be trained here, for want of its data or of a package."""
        self._end(planned, self._case_record(planned), "skipped", problem)

    def fail(self, planned: PlannedCase, error: CaseError) -> None:
        """Note that a case failed; what it has measured stays."""
        self._end(planned, self._case_record(planned), "failed", error)

    def finish(self, planned: PlannedCase) -> CaseRecord:
        """Note that every repeat of a case is done."""
        return self._end(planned, self._case_record(planned), "passed", None)

    def _case_record(self, planned: PlannedCase) -> CaseRecord:
        record = new_case_record(planned.case, planned.shortened)
        return self.cases.setdefault(planned.case.id, record)

    def _end(
        self, planned: PlannedCase, record: CaseRecord, outcome: str, error: CaseError | None
    ) -> CaseRecord:
        entry = OutcomeEntry.model_validate(
            {"case": planned.case, "shortened": planned.shortened, "outcome": outcome,
             "error": error}
        )  # fmt: skip
        record.outcome, record.error = entry.outcome, entry.error
        self._ended.add(planned.case.id)
        self.journal.append(entry)
        return record

    @contextmanager
    def repeat(self, planned: PlannedCase, seed: int) -> Iterator[RepeatRun]:
        """A repeat to be prepared, trained and finished; leaving it ends its worker.

        Raises:
            OutOfTimeError: --cnnperf-max-minutes leaves no time for it, or ended it.
        """
        self.limit.check(planned.case.id, estimate_repeat_seconds(planned.case, self.probed))
        place = Place(
            case_id=planned.case.id,
            case_number=planned.number,
            cases=len(self.plan.cases),
            repeat_number=seed - planned.first_seed + 1,
            repeats=planned.repeats,
            side=self.side,
        )
        self.display.start(place)
        run = RepeatRun(
            self._job(planned, seed),
            python=self.settings.python,
            timeout_seconds=self.settings.timeout,
            limit=self.limit,
            listener=self.display.hear,
            hardware=self.probed.environment.hardware,
        )
        try:
            with run:
                yield run
        except OutOfTimeError:
            self.limit.lost.append(str(place))
            raise
        except WorkerError as error:
            error.seed = seed
            self.display.fail(str(error))
            raise
        finally:
            self.display.close()

    def _job(self, planned: PlannedCase, seed: int) -> TrainJob:
        settings = self.settings
        return TrainJob(
            case=planned.case,
            seed=seed,
            device=settings.device,
            data_dir=str(settings.data_dir),
            modules=settings.modules,
            python_path=settings.python_path,
            matmul_flops_per_second=self.probed.environment.hardware.matmul_flops_per_second or {},
            profile_dir=str(settings.profile.absolute()) if settings.profile else None,
            deterministic=settings.deterministic,
        )

    def keep(self, planned: PlannedCase, repeat: Repeat) -> None:
        """Put a finished repeat on the disk, then into the record."""
        self._keep(planned, repeat)
        self.trained += 1
        self.display.finish(repeat)

    def _keep(self, planned: PlannedCase, repeat: Repeat) -> None:
        self.journal.append(
            RepeatEntry(
                case=planned.case,
                shortened=planned.shortened,
                plan=plan_digest(planned, self.probed),
                repeat=repeat,
            )
        )
        add_repeat(self._case_record(planned), planned.case, repeat)
        self.limit.note(planned.case.id, repeat)

    def close(self) -> bool:
        """Close the journal, and remove it where the record holds everything.

        The resumed journal goes too: what it had is in the record.

        Returns:
            Whether the journal was kept, for want of a whole record.
        """
        record = self.record
        if record.interrupted or any(case.outcome == "failed" for case in record.cases):
            self.journal.close()
            return True
        self.journal.discard()
        self.drop_resumed()
        return False

    def drop_resumed(self) -> None:
        """Remove the resumed journal, where all that it had is in this run's own files."""
        if self.resumed is not None and not (self.resumed.changed or self.resumed.unplanned):
            with suppress(OSError):  # such as in a folder that may only be read
                self.resumed.path.unlink(missing_ok=True)
