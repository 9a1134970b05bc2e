"""Train a case from a script or a notebook.

from cnnperf import train
result = train("modified_vgg-digits-28-eager", repeats=3)
print(result.metrics.train_seconds, result.metrics.test_accuracy)
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from cnnperf.catalog.datasets import check_files
from cnnperf.catalog.loops import AnyCase, LoopCase
from cnnperf.catalog.registry import (
    check_case,
    folders_of,
    get_case,
    get_dataset,
    get_model,
    import_modules,
)
from cnnperf.catalog.specs import Case
from cnnperf.cli.python.result import TrainResult
from cnnperf.errors import UsageError
from cnnperf.record.environment import Environment
from cnnperf.record.journal import add_repeat, new_case_record
from cnnperf.record.messages import Device, EpochDone, ProbeJob, Progress
from cnnperf.record.schema import Record, Repeat, now
from cnnperf.run.plan import AnyPlanned, job_of, plan_case
from cnnperf.run.progress import Display, Place, display_for_python
from cnnperf.run.project import find_project
from cnnperf.run.repeat import RepeatRun
from cnnperf.run.settings import RunSettings, settings_from
from cnnperf.run.worker_process import Listener, WorkerError, ignore_progress, probe

WORKER = "cnnperf.training.worker.__main__"


def train(
    case: str | AnyCase,
    *,
    repeats: int = 1,
    seed: int = 0,
    device: Device = "auto",
    data_dir: str | Path | None = None,
    modules: Sequence[str] = (),
    timeout_seconds: float | None = None,
    measure_peak: bool = True,
    progress: bool = True,
    on_progress: Callable[[Progress | EpochDone], None] = ignore_progress,
) -> TrainResult:
    """Train a case, each repeat in a new process, and return the measurements.

    The clock is that of `pytest benchmarks`. The first call of a session also looks at the machine,
    which takes some seconds. A case of suite `infer` is trained, then its inference is measured.

    The training process finds modules where this one does: in the folders of `sys.path`, and in
    that of the calling file. It reads them anew in each repeat.

    Args:
        case: a case, or the id of one that cnnperf, your project's files or `modules` define.
        repeats: number of trainings; repeat i has seed `seed + i`.
        seed: seed of weights, order and dropout of the first repeat.
        device: where to train; `auto` is the best device that torch can use.
        data_dir: folder of the data sets; the default is the command line's.
        modules: modules to import first, here and in the training process.
        timeout_seconds: end a training this long after its clock started; starting may take as
            long, but at least five minutes.
        measure_peak: whether to measure the matmul peak of the device, which MFU is relative to;
            without it, MFU is None and the first call is faster.
        progress: whether to show progress in a terminal or a notebook; elsewhere none is shown.
        on_progress: called with steps and epochs during training.

    Raises:
        UsageError: there is no such case, its data are missing, or the training process cannot
            import its code.
        WorkerError: a training failed; `kind` is the cause.
    """
    _refuse_inside_worker()
    python_path = _python_path(sys._getframe(1).f_globals.get("__file__"))
    import_modules(modules, asked_by="modules")
    chosen = _find(case, modules)
    if isinstance(chosen, LoopCase) and chosen.command is not None:
        python_path.insert(0, str(Path.cwd()))  # a command is started in the first folder
    given = {"device": device, "repeats": str(repeats), "seed": str(seed)}
    folder = None if data_dir is None else str(data_dir)
    settings = replace(
        settings_from({**given, "data_dir": folder}, ()),
        timeout=timeout_seconds,
        modules=tuple(modules),
        python_path=tuple(dict.fromkeys([*python_path, *folders_of(modules)])),
    )
    _check(chosen, settings)
    planned = plan_case(chosen, settings).model_copy(update={"repeats": settings.repeats})
    display = display_for_python() if progress else Display()
    try:
        display.preparing("looking at this machine ...")
        environment = _look_at_machine(device, measure_peak)
        record = new_case_record(planned, planned.shortened)
        created = now()
        for each in planned.seeds:
            add_repeat(
                record, planned, _train(planned, each, settings, environment, display, on_progress)
            )
    finally:
        display.close()
    record.outcome = "passed"
    tier = (*planned.tiers, "full")[0]
    return TrainResult(Record(created=created, tier=tier, environment=environment, cases=[record]))


def _refuse_inside_worker() -> None:
    """Refuse to train while a training process imports the caller: that would never end."""
    main = getattr(sys.modules["__main__"], "__spec__", None)
    if main is not None and main.name == WORKER:
        raise UsageError(
            "train was called while the training process imported your module: put the call below "
            '`if __name__ == "__main__":`'
        )


def _python_path(caller: str | None) -> list[str]:
    """Return the absolute folders in which this process and the caller's file find modules."""
    beside = [str(Path(caller).parent)] if caller is not None else []
    return list(dict.fromkeys(str(Path(folder).absolute()) for folder in [*sys.path, *beside]))


def _find(case: str | AnyCase, modules: Sequence[str]) -> AnyCase:
    """Return a case by its id; one that is unknown may be in the project's files."""
    if not isinstance(case, str):
        return case
    with suppress(UsageError):
        return get_case(case)
    find_project(Path.cwd(), modules).register()
    return get_case(case)


def _check(case: AnyCase, settings: RunSettings) -> None:
    """Check what can be checked without torch.

    Raises:
        UsageError: model, data set and recipe do not fit, data are missing, or code is in
            `__main__`.
    """
    if isinstance(case, Case):
        check_case(case)
        problem = check_files(get_dataset(case.dataset), settings.data_dir, checksum=True)
        if problem is not None:
            raise UsageError(problem.message)
    for path in _import_paths(case):
        module, _, name = path.partition(":")
        if module == "__main__":
            raise UsageError(
                f"{name} is defined in a notebook or in the script that runs, which a training "
                f"process cannot import: put it into a module beside it, such as my_nets.py, and "
                f"name it my_nets:{name}"
            )


def _import_paths(case: AnyCase) -> Iterable[str]:
    if isinstance(case, LoopCase):
        return [case.trainer or ""]
    recipe = case.recipe
    calls = (recipe.optimizer, recipe.loss, recipe.schedule)
    named = [getattr(call, "name", "") for call in calls]
    return [get_model(case.model).builder, get_dataset(case.dataset).import_path, *named]


@functools.cache
def _look_at_machine(device: Device, measure_peak: bool) -> Environment:
    """Return hardware and software as a worker sees them; once in a session, since it is slow."""
    return probe(ProbeJob(device=device, measure_peak=measure_peak)).environment


def _train(
    planned: AnyPlanned,
    seed: int,
    settings: RunSettings,
    environment: Environment,
    display: Display,
    listener: Listener,
) -> Repeat:
    hardware = environment.hardware

    def hear(message: Progress | EpochDone) -> None:
        display.hear(message)
        listener(message)

    place = Place(
        case_id=planned.id,
        case_number=1,
        cases=1,
        repeat_number=seed - planned.first_seed + 1,
        repeats=planned.repeats,
    )
    display.start(place)
    job = job_of(planned, seed, settings, hardware.matmul_flops_per_second or {})
    job = job.model_copy(update={"check": True})
    run = RepeatRun(job, timeout_seconds=settings.timeout, listener=hear, hardware=hardware)
    try:
        with run:
            run.prepare()
            run.train()
            repeat = run.finish()
    except WorkerError as error:
        error.seed = seed
        display.fail(str(error))
        raise
    display.finish(repeat)
    return repeat
