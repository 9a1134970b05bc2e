"""One run: the plan, the journal and the record, and the training of each case in its turn.

Torch-free. The plugin calls this; nothing here knows pytest's hooks.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cnnperf.conduct import RepeatRun
from cnnperf.errors import UsageError
from cnnperf.journal import (
    SUFFIX,
    Journal,
    JournalHeader,
    OutcomeEntry,
    RepeatEntry,
    add_repeat,
    new_case_record,
    read_journal,
)
from cnnperf.plan import Plan, PlannedCase, plan_digest
from cnnperf.progress import Display, Place, Silent
from cnnperf.protocol import ProbeJob, ProbeResult, TrainJob
from cnnperf.record import CaseError, CaseRecord, Record, Repeat, now
from cnnperf.runner import WorkerError, probe
from cnnperf.settings import RunSettings
from cnnperf.specs import Tier

TRAIN_PACKAGES = ("torch", "torchvision", "sklearn")


def missing_packages() -> list[str]:
    """What this interpreter lacks for training; found without importing any of it."""
    return [name for name in TRAIN_PACKAGES if importlib.util.find_spec(name) is None]


@dataclass(frozen=True)
class Resumed:
    """Repeats that a journal holds, by case and seed."""

    path: Path
    entries: dict[tuple[str, int], RepeatEntry]

    @classmethod
    def read(cls, path: Path) -> Resumed:
        """Read a journal; `UsageError` when it is none."""
        _, entries = read_journal(path)
        repeats = (entry for entry in entries if isinstance(entry, RepeatEntry))
        return cls(path, {(entry.case.id, entry.repeat.seed): entry for entry in repeats})


class RunSession:
    """The state of a run, from the moment its cases are known."""

    def __init__(self, settings: RunSettings, tier: Tier, plan: Plan, results: Path) -> None:
        self.settings = settings
        self.tier = tier
        self.plan = plan
        self.created = now()
        self.display: Display = Silent()
        self.cases: dict[str, CaseRecord] = {}
        self.resumed = Resumed.read(settings.resume) if settings.resume else None
        self.journal = Journal(_journal_path(results))
        self.probed: ProbeResult | None = None

    def look_at_machine(self) -> None:
        """Ask a worker what this machine is; this fails where training could not work either."""
        job = ProbeJob(
            device=self.settings.device,
            cases=tuple(planned.case for planned in self.plan.runnable),
            modules=self.settings.modules,
            python_path=self.settings.python_path,
            measure_peak=bool(self.plan.runnable),
        )
        self.probed = probe(job, python=self.settings.python)
        self._check_accelerator_is_used(self.probed)
        self.journal.append(
            JournalHeader(
                created=self.created,
                tier=self.tier,
                environment=self.probed.environment,
                planned=tuple(self.plan.cases),
            )
        )

    def _check_accelerator_is_used(self, probed: ProbeResult) -> None:
        """A GPU that torch cannot use would silently turn hours of training into days."""
        auto = self.settings.device == "auto" and self.settings.tier == "auto"
        if auto and self.tier == "standard" and probed.device == "cpu":
            raise UsageError(
                f"a GPU is here, but torch {probed.environment.software.torch} cannot use it: "
                "install a build of torch for it, or say --cnnperf-device=cpu"
            )

    @property
    def record(self) -> Record:
        """What has been measured so far."""
        done = sum(len(case.repeats) for case in self.cases.values())
        ended = all(case_id in self.cases for case_id in self.plan.cases)
        failed = any(case.outcome == "failed" for case in self.cases.values())
        environment = {} if self.probed is None else {"environment": self.probed.environment}
        return Record(
            created=self.created,
            tier=self.tier,
            interrupted=not ended or (done < self.plan.trainings and not failed),
            cases=list(self.cases.values()),
            **environment,
        )

    def skip(self, planned: PlannedCase, message: str) -> None:
        """Note that a case cannot be trained for want of its data."""
        self._end(planned, self._case_record(planned), "skipped", CaseError(
            kind="data", message=message
        ))  # fmt: skip

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
        self.journal.append(entry)
        return record

    def take_over(self, planned: PlannedCase, seed: int) -> Repeat | None:
        """A repeat that the resumed journal holds already, if it was made under this plan."""
        entry = self.resumed and self.resumed.entries.get((planned.case.id, seed))
        if not entry or entry.plan != self.plan_digest(planned):
            return None
        self._keep(planned, entry.repeat)
        return entry.repeat

    def plan_digest(self, planned: PlannedCase) -> str:
        """See `cnnperf.plan.plan_digest`."""
        assert self.probed is not None
        return plan_digest(planned, self.probed.environment, self.probed.device)

    @contextmanager
    def repeat(self, planned: PlannedCase, seed: int) -> Iterator[RepeatRun]:
        """A repeat to be prepared, trained and finished; leaving it ends its worker."""
        place = Place(
            case_id=planned.case.id,
            case_number=planned.number,
            cases=len(self.plan.cases),
            repeat_number=seed - planned.first_seed + 1,
            repeats=planned.repeats,
        )
        self.display.start(place)
        run = RepeatRun(
            self._job(planned, seed),
            python=self.settings.python,
            timeout_seconds=self.settings.timeout,
            listener=self.display.hear,
            hardware=self.probed.environment.hardware if self.probed else None,
        )
        try:
            with run:
                yield run
        except WorkerError as error:
            error.seed = seed
            self.display.fail(str(error))
            raise
        finally:
            self.display.close()

    def _job(self, planned: PlannedCase, seed: int) -> TrainJob:
        assert self.probed is not None
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
        )

    def keep(self, planned: PlannedCase, repeat: Repeat) -> None:
        """Put a finished repeat on the disk, then into the record."""
        self._keep(planned, repeat)
        self.display.finish(repeat)

    def _keep(self, planned: PlannedCase, repeat: Repeat) -> None:
        self.journal.append(
            RepeatEntry(
                case=planned.case,
                shortened=planned.shortened,
                plan=self.plan_digest(planned),
                repeat=repeat,
            )
        )
        add_repeat(self._case_record(planned), planned.case, repeat)

    def resume_report(self) -> list[str]:
        """What the resumed journal spares this run, and what of it does not fit and why."""
        if self.resumed is None:
            return []
        wanted = {
            (planned.case.id, seed): self.plan_digest(planned)
            for planned in self.plan.runnable
            for seed in planned.seeds
        }
        fits = [k for k, e in self.resumed.entries.items() if wanted.get(k) == e.plan]
        changed = [k for k, e in self.resumed.entries.items() if wanted.get(k, e.plan) != e.plan]
        lines = [f"resuming {self.resumed.path}: {_name_repeats(fits)} taken over"]
        if changed:
            lines.append(
                f"  {_name_repeats(changed)} trained again: made with another recipe, software, "
                "hardware or commit"
            )
        return lines

    def close(self) -> Path | None:
        """Close the journal; it goes when the record holds everything and nothing is left to do.

        Returns:
            The journal's path where it was kept.
        """
        record = self.record
        if record.interrupted or any(case.outcome == "failed" for case in record.cases):
            self.journal.close()
            return self.journal.path
        self.journal.discard()
        return None


def _name_repeats(keys: list[tuple[str, int]]) -> str:
    if not keys:
        return "no training"
    names = ", ".join(f"{case_id} seed {seed}" for case_id, seed in keys[:4])
    more = f" and {len(keys) - 4} more" if len(keys) > 4 else ""
    return f"{len(keys)} training{'s' if len(keys) > 1 else ''} ({names}{more})"


def _journal_path(results: Path) -> Path:
    """A name of its own for each run, so that no run overwrites another's journal."""
    stamp = now().strftime("%Y%m%d-%H%M%S")
    path = results.with_name(f"{results.stem}-{stamp}{SUFFIX}")
    number = 1
    while path.exists():
        number += 1
        path = results.with_name(f"{results.stem}-{stamp}-{number}{SUFFIX}")
    return path


def older_journals(results: Path) -> list[Path]:
    """Journals that stopped runs with the same results file left, the latest first."""
    return sorted(results.parent.glob(f"{results.stem}-*{SUFFIX}"), reverse=True)
