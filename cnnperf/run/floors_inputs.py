"""The inputs of `cnnperf floors`: cases, records of them, and the limits of the device."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cnnperf.catalog.loops import AnyCase, LoopCase
from cnnperf.catalog.registry import get_case, select_cases
from cnnperf.catalog.specs import Case, Recipe
from cnnperf.compare.floors import CaseFloors, case_floors, measured_of
from cnnperf.errors import UsageError
from cnnperf.machine.names import hardware_difference, identity
from cnnperf.record.environment import Hardware
from cnnperf.record.loading import load_record
from cnnperf.record.messages import ProbeResult
from cnnperf.record.schema import CaseRecord
from cnnperf.run.plan import choose_tier, probe_job
from cnnperf.run.session import missing_packages
from cnnperf.run.settings import settings_from
from cnnperf.run.worker_process import probe


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """A case of a record with at least one finished training."""

    path: Path
    hardware: Hardware
    case: CaseRecord

    @property
    def as_trained(self) -> Case:
        """The registered case with the recorded recipe, which may be shortened.

        Raises:
            UsageError: the case is not registered.
        """
        case = with_floors(get_case(self.case.id))
        if self.case.fingerprint is None or self.case.fingerprint.recipe is None:
            return case
        recipe = Recipe.model_validate(self.case.fingerprint.recipe.model_dump())
        return case.model_copy(update={"recipe": recipe})


def read_recorded(paths: Iterable[Path]) -> dict[str, Recorded]:
    """Read the cases of some records that have finished trainings, by id.

    Raises:
        UsageError: a record cannot be read, or two records contain the same case.
    """
    found: dict[str, Recorded] = {}
    for path in paths:
        record = load_record(path)
        for case in record.cases:
            if not case.repeats:
                continue
            if case.id in found:
                raise UsageError(
                    f"{case.id} is in {found[case.id].path} and in {path}: leave out one of them"
                )
            found[case.id] = Recorded(path=path, hardware=record.environment.hardware, case=case)
    return found


def choose_cases(
    ids: Sequence[str],
    expression: str | None,
    recorded: dict[str, Recorded],
    *,
    tier: str | None,
    device: str | None,
) -> list[Case]:
    """Return the given cases, else those of the records, else those of the tier.

    Raises:
        UsageError: a case does not exist, or both ids and an expression are given.
    """
    if ids and expression:
        raise UsageError("expected ids of cases or -k, not both")
    settings = settings_from({"tier": tier, "device": device}, ())
    if ids:
        chosen = list(dict.fromkeys(ids))
    elif recorded and not expression and tier is None:
        chosen = list(recorded)
    else:
        chosen = select_cases(expression, choose_tier(settings)[0])
    if not ids:
        chosen = [id_ for id_ in chosen if not _is_divided(get_case(id_))] or chosen
    if not ids and not expression:
        chosen = [id_ for id_ in chosen if isinstance(get_case(id_), Case)] or chosen
    return [
        recorded[id_].as_trained if id_ in recorded else with_floors(get_case(id_))
        for id_ in chosen
    ]


def _is_divided(case: AnyCase) -> bool:
    return isinstance(case, Case) and case.devices is not None


def with_floors(case: AnyCase) -> Case:
    """Return a case whose work can be counted.

    Raises:
        UsageError: its loop is the user's, or several devices train it.
    """
    if _is_divided(case):
        raise UsageError(
            f"{case.id} has no floors: they are those of one device; choose the case without a "
            "number of devices"
        )
    if isinstance(case, LoopCase):
        raise UsageError(
            f"{case.id} has no floors: its loop is your own, so its arithmetic cannot be counted; "
            "a case of a model and a data set has them"
        )
    return case


def look(cases: Sequence[Case], device: str | None, modules: Sequence[str]) -> ProbeResult:
    """Measure the limits of the device and count the work of each case, in a worker.

    Raises:
        UsageError: the device or a package is missing.
    """
    missing = missing_packages()
    if missing:
        raise UsageError(
            f"floors need {', '.join(missing)} to measure this device: pip install 'cnnperf[train]'"
        )
    settings = settings_from({"device": device}, modules)
    return probe(probe_job(settings, cases, floors=True))


def floors_of(
    cases: Iterable[Case], probed: ProbeResult, recorded: dict[str, Recorded]
) -> list[CaseFloors]:
    """Return the floors of each case, with the recorded measurements if there are any.

    Raises:
        UsageError: a record is from another machine, whose limits differ.
    """
    here = probed.environment.hardware
    for each in recorded.values():
        if not _is_same_device(each.hardware, here):
            raise UsageError(
                f"{each.path} was measured on another machine than this one "
                f"({hardware_difference(each.hardware, here)}), and floors depend on the machine: "
                "run `cnnperf floors` there"
            )
    return [_floors_of(case, probed, recorded.get(case.id)) for case in cases]


def _is_same_device(then: Hardware, here: Hardware) -> bool:
    """Compare GPUs by name only: the host does not affect their limits."""
    if then.gpu is not None and here.gpu is not None:
        return then.gpu.name == here.gpu.name
    return identity(then) == identity(here)


def _floors_of(case: Case, probed: ProbeResult, recorded: Recorded | None) -> CaseFloors:
    if recorded is None:
        return case_floors(case, probed)
    fingerprint = recorded.case.fingerprint
    return case_floors(
        case,
        probed,
        measured=measured_of(recorded.case, recorded.hardware.matmul_flops_per_second),
        precision=None if fingerprint is None else fingerprint.precision,
    )
