"""One run: its plan, its journal, its record, and the training of each case.

The pytest plugin drives it; nothing here depends on pytest's hooks.
"""

from __future__ import annotations

import importlib.util
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from cnnperf.catalog.specs import Tier
from cnnperf.catalog.switches import switched_off
from cnnperf.errors import UsageError
from cnnperf.record.anonymous import anonymous
from cnnperf.record.efficiency import add_efficiency
from cnnperf.record.journal import (
    Entry,
    Journal,
    JournalHeader,
    OutcomeEntry,
    RepeatEntry,
    ResultPaths,
    add_repeat,
    check_record_path,
    locked,
    new_case_record,
    read_journal,
)
from cnnperf.record.messages import ProbeResult
from cnnperf.record.schema import CaseError, CaseRecord, Outcome, Record, Repeat, now
from cnnperf.record.writing import check_output, holds_results
from cnnperf.run.plan import (
    AnyPlanned,
    Plan,
    estimate_repeat_seconds,
    finds_accelerator,
    job_of,
    plan_digest,
    probe_job,
)
from cnnperf.run.progress import Display, Place
from cnnperf.run.repeat import RepeatRun, check_fallback
from cnnperf.run.resumed import Resumed, read_resumed
from cnnperf.run.settings import RunSettings
from cnnperf.run.time_limit import OutOfTimeError, TimeLimit
from cnnperf.run.worker_process import WorkerError, probe

TRAIN_PACKAGES = ("torch", "torchvision", "sklearn")


def missing_packages() -> list[str]:
    """Return the packages that this interpreter lacks for training, without importing any."""
    return [name for name in TRAIN_PACKAGES if importlib.util.find_spec(name) is None]


class RunSession:
    """The state of a run once its cases are planned. Call `look_at_machine` first."""

    probed: ProbeResult

    def __init__(self, settings: RunSettings, tier: Tier, plan: Plan, paths: ResultPaths) -> None:
        self.settings = settings
        self.tier = tier
        self.plan = plan
        self.paths = paths
        self.created = now()
        self.display: Display = Display()
        self.side: str | None = None
        """Name of this run if two runs take turns."""
        self.command: str | None = None
        """Command line of the run, for its record."""
        self.limit = TimeLimit(None)
        self.trained = 0
        """Trainings that this run has finished; those of a resumed journal do not count."""
        self.cases: dict[str, CaseRecord] = {}
        self.resumed: Resumed | None = None
        self._ended: set[str] = set()
        switched_off()  # a wrong name must not appear after the first training
        check_record_path(paths.record)
        read = [each for each in (settings.baseline, settings.resume) if each is not None]
        check_output(paths.record, read, force=True)
        self._held = ExitStack()
        """The resumed journal, which no other run may take over meanwhile."""
        if settings.resume is not None:
            self._held.enter_context(locked(settings.resume))
            read_journal(settings.resume)  # fail before anything slow starts
        self.journal = Journal(paths.journal)

    # --- the machine ----------------------------------------------------------------------------

    def look_at_machine(self) -> None:
        """Ask a worker about machine and models, then start the journal.

        Raises:
            UsageError: training is impossible here, or would use the CPU although a GPU is present.
        """
        settings, runnable = self.settings, self.plan.runnable
        job = probe_job(
            settings,
            runnable,
            measure_peak=bool(runnable),
            deterministic=settings.deterministic,
        )
        self.start(probe(job, python=settings.python, timeout_seconds=settings.timeout))

    def start(self, probed: ProbeResult) -> None:
        """Start the journal on the machine that a probe has described.

        Raises:
            UsageError: training would use the CPU although a GPU is present.
        """
        settings, self.probed = self.settings, probed
        self._check_accelerator_is_used()
        self._append(
            JournalHeader(
                created=self.created,
                tier=self.tier,
                command=self.command,
                environment=self.probed.environment,
                planned=tuple(self.plan.cases),
            )
        )
        if settings.resume is not None:
            self.resumed = read_resumed(
                settings.resume,
                self.plan,
                self.probed,
                allow_fallback=settings.allow_fallback,
            )
            for (case_id, _), entry in self.resumed.fitting.items():
                planned = self.plan.cases[case_id]
                self._case_record(planned).numerics = list(entry.numerics)
                self._keep(planned, entry.repeat)  # a second stop loses nothing

    def _check_accelerator_is_used(self) -> None:
        if self.settings.device != "auto" or self.probed.device != "cpu" or not self.plan.runnable:
            return
        accelerator = finds_accelerator()
        if accelerator is None:
            return
        shown = os.environ.get("CUDA_VISIBLE_DEVICES")
        hint = f"check that CUDA_VISIBLE_DEVICES={shown} names a present GPU, " if shown else ""
        raise UsageError(
            f"{accelerator} found, but torch {self.probed.environment.software.torch} cannot use "
            f"it: {hint}install a build of torch for it, or train on the CPU with "
            "--cnnperf-device=cpu"
        )

    def _append(self, entry: JournalHeader | Entry) -> None:
        host = self.probed.environment.hardware.host
        self.journal.append(anonymous(entry, host) if self.settings.anonymous else entry)

    # --- the record -----------------------------------------------------------------------------

    @property
    def keeps_old_record(self) -> bool:
        """Whether the record of an earlier run stays, because this one has finished no training."""
        measured = any(case.repeats for case in self.cases.values())
        return not measured and holds_results(self.paths.record)

    @property
    def record(self) -> Record:
        """The record of everything measured so far, without cases that have only begun."""
        begun = [case for case in self.cases.values() if case.repeats or case.id in self._ended]
        add_efficiency(begun)
        record = Record(
            created=self.created,
            tier=self.tier,
            command=self.command,
            interrupted=self._ended != set(self.plan.cases),
            environment=self.probed.environment,
            cases=begun,
        )
        return anonymous(record) if self.settings.anonymous else record

    @property
    def taken_over(self) -> Counter[str]:
        """Number of trainings that the resumed journal saves, by case id."""
        return Counter(case_id for case_id, _ in (self.resumed.fitting if self.resumed else ()))

    @property
    def left(self) -> int:
        """Number of planned trainings that are not done; a failed case has none left."""
        done = Counter({case.id: len(case.repeats) for case in self.cases.values()})
        waiting = (planned for planned in self.plan.runnable if planned.id not in self._ended)
        return sum(planned.repeats - done[planned.id] for planned in waiting)

    # --- a case ---------------------------------------------------------------------------------

    def begin(self, planned: AnyPlanned) -> list[Repeat]:
        """Start a case, or start it again; return its repeats from the resumed journal."""
        fitting = self.resumed.fitting if self.resumed else {}
        keys = [(planned.id, seed) for seed in planned.seeds]
        taken = [fitting[key] for key in keys if key in fitting]
        self.cases.pop(planned.id, None)
        record = self._case_record(planned)
        for entry in taken:
            add_repeat(record, planned, entry.repeat)
            record.numerics = list(entry.numerics) or record.numerics
        return [entry.repeat for entry in taken]

    def skip(self, planned: AnyPlanned, problem: CaseError) -> None:
        """End a case that cannot be trained here."""
        self._end(planned, "skipped", problem)

    def fail(self, planned: AnyPlanned, error: CaseError) -> None:
        """End a case that failed; its finished repeats stay."""
        self._end(planned, "failed", error)

    def finish(self, planned: AnyPlanned) -> CaseRecord:
        """End a case whose repeats are all done."""
        return self._end(planned, "passed", None)

    def _case_record(self, planned: AnyPlanned) -> CaseRecord:
        record = new_case_record(planned, planned.shortened)
        return self.cases.setdefault(planned.id, record)

    def _end(self, planned: AnyPlanned, outcome: Outcome, error: CaseError | None) -> CaseRecord:
        record = self._case_record(planned)
        record.outcome, record.error = outcome, error
        self._ended.add(planned.id)
        self._append(
            OutcomeEntry(case=planned, shortened=planned.shortened, outcome=outcome, error=error)
        )
        return record

    # --- a repeat -------------------------------------------------------------------------------

    @contextmanager
    def repeat(
        self,
        planned: AnyPlanned,
        seed: int,
        settings: RunSettings | None = None,
        side: str | None = None,
    ) -> Iterator[RepeatRun]:
        """Start a worker for one repeat; leaving the context ends it.

        Other settings than the run's, and another name of the side, are for trainings beside it.

        Raises:
            OutOfTimeError: --cnnperf-max-minutes leaves no time for it, or stopped it.
        """
        self.limit.check(planned.id, estimate_repeat_seconds(planned, self.probed))
        place = Place(
            case_id=planned.id,
            case_number=planned.number,
            cases=len(self.plan.cases),
            repeat_number=seed - planned.first_seed + 1,
            repeats=planned.repeats,
            side=side or self.side,
        )
        self.display.start(place)
        hardware = self.probed.environment.hardware
        run = RepeatRun(
            job_of(
                planned, seed, settings or self.settings, hardware.matmul_flops_per_second or {}
            ),
            python=self.settings.python,
            timeout_seconds=self.settings.timeout,
            limit=self.limit,
            listener=self.display.hear,
            hardware=hardware,
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

    def keep(self, planned: AnyPlanned, repeat: Repeat) -> None:
        """Add a finished repeat to the record and to the journal."""
        self.trained += 1
        self._keep(planned, repeat)
        self.display.finish(repeat)

    def _keep(self, planned: AnyPlanned, repeat: Repeat) -> None:
        # First: a Ctrl-C while the journal reaches the disk must not leave the repeat uncounted.
        add_repeat(self._case_record(planned), planned, repeat)
        self.limit.note(planned.id, repeat)
        self._append(
            RepeatEntry(
                case=planned,
                shortened=planned.shortened,
                plan=plan_digest(planned, self.probed),
                repeat=repeat,
                numerics=tuple(self._case_record(planned).numerics),
            )
        )

    def check(self, repeat: Repeat) -> None:
        """Check a repeat that has been kept.

        Raises:
            WorkerError: engine `fast` fell back on CUDA, and --cnnperf-allow-fallback is not set.
        """
        if not self.settings.allow_fallback:
            check_fallback(repeat)

    # --- the end --------------------------------------------------------------------------------

    def close(self, *, is_written: bool, drop_resumed: bool) -> bool:
        """Close the journal; delete it and a resumed one if the record is complete.

        Args:
            is_written: whether the record is on the disk, or was never to be.
            drop_resumed: whether it is on the disk, so that a resumed journal is not needed.

        Returns:
            Whether the journal was kept.
        """
        record = self.record
        failed = any(case.outcome == "failed" for case in record.cases)
        if (record.interrupted and record.cases) or failed or not is_written:
            self.journal.close()
            return True
        self.journal.discard()
        if drop_resumed:
            self.drop_resumed()
        return False

    def drop_resumed(self) -> None:
        """Delete the resumed journal if this run's own files contain all of it, and let it go."""
        self._held.close()
        if self.resumed is not None and not (self.resumed.changed or self.resumed.unplanned):
            with suppress(OSError):  # such as a read-only folder
                self.resumed.path.unlink(missing_ok=True)
