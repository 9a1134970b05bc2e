"""cnnperf from Python: one training, its result as typed objects.

from cnnperf import train
result = train("modified_vgg-digits-28-eager")
print(result.metrics.train_seconds, result.metrics.test_accuracy)
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from cnnperf.catalog.datasets import check_files, default_data_dir
from cnnperf.catalog.registry import get_case, get_dataset, import_modules
from cnnperf.catalog.specs import Case
from cnnperf.errors import UsageError
from cnnperf.record.messages import Device, EpochDone, Progress, TrainJob
from cnnperf.record.schema import Repeat
from cnnperf.run.repeat import RepeatRun
from cnnperf.run.worker_process import ignore_progress


def train(
    case: str | Case,
    *,
    seed: int = 0,
    device: Device = "auto",
    data_dir: str | Path | None = None,
    modules: Sequence[str] = (),
    timeout_seconds: float | None = None,
    on_progress: Callable[[Progress | EpochDone], None] = ignore_progress,
) -> Repeat:
    """Train a case once, in a process of its own, and return what was measured.

    It is the same training, on the same clock, as one repeat of `pytest benchmarks`. MFU stays
    None: it needs the matmul peak that a run measures first. A case of suite `infer` is trained,
    and then its inference is measured: the result's `inference`.

    Args:
        case: a case or its id.
        seed: of weights, order and dropout.
        device: where to train; `auto` takes the best that torch can use.
        data_dir: where the data sets lie; default as for the command line.
        modules: modules to import first, which register models or data sets of your own.
        timeout_seconds: give up this long after the clock started; starting may take as long,
            and five minutes at the least.
        on_progress: told of steps and epochs while it trains.

    Raises:
        UsageError: there is no such case, or its data are not there.
        cnnperf.run.worker_process.WorkerError: the training failed; `kind` says how.
    """
    python_path = (sys.path[0] or str(Path.cwd()),)
    import_modules(modules)
    case = get_case(case) if isinstance(case, str) else case
    folder = Path(data_dir) if data_dir is not None else default_data_dir()
    problem = check_files(get_dataset(case.dataset), folder, checksum=True)
    if problem is not None:
        raise UsageError(problem.message)
    job = TrainJob(
        case=case,
        seed=seed,
        device=device,
        data_dir=str(folder),
        modules=tuple(modules),
        python_path=python_path,
    )
    with RepeatRun(job, timeout_seconds=timeout_seconds, listener=on_progress) as run:
        run.prepare()
        run.train()
        return run.finish()
