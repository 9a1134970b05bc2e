"""Train one case from Python; the result is typed.

from cnnperf import train
result = train("modified_vgg-digits-28-eager")
print(result.metrics.train_seconds, result.metrics.test_accuracy)
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from cnnperf.catalog.datasets import check_files, default_data_dir
from cnnperf.catalog.loops import AnyCase
from cnnperf.catalog.registry import folders_of, get_case, get_dataset, import_modules
from cnnperf.catalog.specs import Case
from cnnperf.errors import UsageError
from cnnperf.record.messages import Device, EpochDone, Progress
from cnnperf.record.schema import Repeat
from cnnperf.run.plan import job_of, plan_case
from cnnperf.run.repeat import RepeatRun
from cnnperf.run.settings import settings_from
from cnnperf.run.worker_process import ignore_progress


def train(
    case: str | AnyCase,
    *,
    seed: int = 0,
    device: Device = "auto",
    data_dir: str | Path | None = None,
    modules: Sequence[str] = (),
    timeout_seconds: float | None = None,
    on_progress: Callable[[Progress | EpochDone], None] = ignore_progress,
) -> Repeat:
    """Train a case once in a new process and return the measurements.

    This is one repeat of `pytest benchmarks`, on the same clock. MFU is None, because it needs the
    matmul peak that a run measures first. A case of suite `infer` is trained, then its inference
    is measured: see `inference` of the result.

    Args:
        case: a case or its id.
        seed: seed of weights, order and dropout.
        device: where to train; `auto` is the best device that torch can use.
        data_dir: folder of the data sets; the default is the command line's.
        modules: modules to import first that register your models or data sets.
        timeout_seconds: end the training this long after its clock started; starting may take as
            long, but at least five minutes.
        on_progress: called with steps and epochs during training.

    Raises:
        UsageError: there is no such case, or its data are missing.
        cnnperf.run.worker_process.WorkerError: the training failed; `kind` is the cause.
    """
    import_modules(modules)
    python_path = (sys.path[0] or str(Path.cwd()), *folders_of(modules))
    chosen = get_case(case) if isinstance(case, str) else case
    folder = Path(data_dir) if data_dir is not None else default_data_dir()
    if isinstance(chosen, Case):
        problem = check_files(get_dataset(chosen.dataset), folder, checksum=True)
        if problem is not None:
            raise UsageError(problem.message)
    settings = settings_from({}, modules, python_path=python_path, device=device, data_dir=folder)
    job = job_of(plan_case(chosen, settings), seed, settings, {})
    with RepeatRun(job, timeout_seconds=timeout_seconds, listener=on_progress) as run:
        run.prepare()
        run.train()
        return run.finish()
