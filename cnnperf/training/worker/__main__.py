"""Entry point of the worker process: read a job, run it, and send the result.

    (echo '{"kind": "probe"}'; sleep 60) | python -P -m cnnperf.training.worker 3 3>&1

prints the machine's description as one line of JSON. The argument is the file descriptor for
messages. The `sleep` keeps standard input open: a worker ends when its parent closes it. With
`--rank FOLDER` it is one of several that train together, and the launcher is its parent.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from pathlib import Path

START = time.perf_counter()  # the start of startup_seconds

from pydantic import ValidationError  # noqa: E402

from cnnperf.catalog.loops import LoopCase  # noqa: E402
from cnnperf.catalog.registry import (  # noqa: E402
    import_modules,
    register_dataset,
    register_model,
)
from cnnperf.catalog.specs import Case  # noqa: E402
from cnnperf.record.messages import Failed, ProbeJob, TrainJob  # noqa: E402
from cnnperf.training.worker.channel import Channel, check_torch, failed_message  # noqa: E402
from cnnperf.training.worker.pipes import open_rank  # noqa: E402


def main() -> int:
    """Run one job and return the exit code: 0 if the final message is a result."""
    folder = Path(sys.argv[2]) if sys.argv[1:2] == ["--rank"] else None
    try:
        rank = int(os.environ["LOCAL_RANK"]) if folder is not None else None
        descriptor = open_rank(folder, rank) if folder and rank is not None else int(sys.argv[1])
        channel = Channel(descriptor)
    except (IndexError, ValueError, OSError):  # the parent shows the last line
        sys.exit(
            "the worker needs the number of an open file descriptor for its messages: name an "
            "interpreter, not a wrapper that closes files"
        )
    try:
        job = channel.read_job()
    except ValidationError as error:
        channel.send(Failed(error="protocol", message=_invalid_job(error)))
        return 2
    try:
        check_torch(everything=not isinstance(job, TrainJob) or job.check)
        return _run(job, channel, folder)
    except BaseException as error:  # report even SystemExit from a user's model
        channel.send(failed_message(error))
        return 1


def _run(job: TrainJob | ProbeJob, channel: Channel, folder: Path | None) -> int:
    """Run a job; what is imported here imports torch, which may be what is missing."""
    case = job.case if isinstance(job, TrainJob) else None
    in_group = isinstance(case, Case) and case.devices is not None
    if isinstance(job, TrainJob) and in_group and folder is None:
        from cnnperf.training.worker.launcher import run_ranks

        return run_ranks(job, channel)
    if job.deterministic:
        from cnnperf.training.worker.device import be_deterministic

        be_deterministic()
    import_modules(job.modules, job.python_path)
    for model in job.models:
        register_model(model)
    for dataset in job.datasets:
        register_dataset(dataset)
    if not isinstance(job, TrainJob):
        from cnnperf.training.worker.probe import run_probe

        run_probe(job, channel)
    elif isinstance(case, LoopCase):
        from cnnperf.training.worker.own_loop import run_loop

        run_loop(job, case, channel, START)
    elif isinstance(case, Case):
        from cnnperf.training.worker.repeat import run_repeat

        run_repeat(job, case, channel, START, folder)
    if not isinstance(case, LoopCase):  # whose files may be flushed by what is left out here
        gc.freeze()  # Python's exit searches no imported module for cycles: that takes a second
    return 0


def _invalid_job(error: ValidationError) -> str:
    first = error.errors()[0]
    field = ".".join(map(str, first["loc"]))
    return (
        f"this worker's cnnperf cannot read the job ({field}: {first['msg']}): install the same "
        "version of cnnperf in both environments"
    )


if __name__ == "__main__":
    sys.exit(main())
