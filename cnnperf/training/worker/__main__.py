"""Entry of the worker process: read the job, do it, say how it went.

    (echo '{"kind": "probe"}'; sleep 60) | python -m cnnperf.training.worker

prints what this machine is as one line of JSON. The `sleep` stands for the parent: without one,
that is with its input closed, a worker ends itself.
"""

from __future__ import annotations

import sys
import time

START = time.perf_counter()

from pydantic import ValidationError  # noqa: E402  (the clock of startup_seconds is running)

from cnnperf.catalog.registry import import_modules  # noqa: E402
from cnnperf.record.messages import Failed, TrainJob  # noqa: E402
from cnnperf.training.worker.channel import Channel  # noqa: E402
from cnnperf.training.worker.failures import check_torch, failed_message  # noqa: E402


def _not_a_job(error: ValidationError) -> str:
    first = error.errors()[0]
    field = ".".join(map(str, first["loc"]))
    return (
        f"its cnnperf does not understand this job ({field}: {first['msg']}): install there the "
        "cnnperf that asks"
    )


def main() -> int:
    """Do one job; the exit code is 0 when the last message is a result."""
    channel = Channel()
    try:
        job = channel.read_job()
    except ValidationError as error:
        channel.say(Failed(error="protocol", message=_not_a_job(error)))
        return 2
    try:
        check_torch()
        if job.deterministic:
            from cnnperf.training.worker.determinism import be_deterministic

            be_deterministic()
        import_modules(job.modules, job.python_path)
        if isinstance(job, TrainJob):
            from cnnperf.training.worker.repeat import run_repeat

            run_repeat(job, channel, START)
        else:
            from cnnperf.training.worker.probe import run_probe

            run_probe(job, channel)
    except BaseException as error:  # even SystemExit from a user's model must be reported
        channel.say(failed_message(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
