"""The worker's two ends of the line to its parent, and its duty to die with it."""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Iterator

from pydantic import BaseModel

from cnnperf.record.messages import GO, JOB, ProbeJob, TrainJob


class Channel:
    """Reads the job and `go` from standard input; writes messages to standard output.

    Whatever else in this process prints goes to standard error: a library's chatter must not
    look like a message. Nothing else reads the input either. Make it before anything that starts
    a thread or takes much memory: it forks.
    """

    def __init__(self) -> None:
        _start_guardian()
        self._out = os.fdopen(os.dup(1), "wb", buffering=0)
        os.dup2(2, 1)
        # Plain descriptors: a thread that sleeps in a buffered read holds its lock, and Python
        # cannot shut down while it does.
        self._lines = _read_lines(os.dup(0))
        with open(os.devnull, "rb") as nothing:  # noqa: PTH123
            os.dup2(nothing.fileno(), 0)
        self._go = threading.Event()
        self._lock = threading.Lock()

    def read_job(self) -> TrainJob | ProbeJob:
        """The first line of the input."""
        job = JOB.validate_json(next(self._lines, b""))
        threading.Thread(target=self._listen, name="cnnperf-parent", daemon=True).start()
        return job

    def say(self, message: BaseModel) -> None:
        """Send one message."""
        with self._lock:
            self._out.write(message.model_dump_json().encode() + b"\n")

    def wait_for_go(self) -> None:
        """Return when the parent says `go`."""
        self._go.wait()

    def _listen(self) -> None:
        for line in self._lines:
            if line == GO.encode():
                self._go.set()


def _read_lines(descriptor: int) -> Iterator[bytes]:
    """Lines without their ends, as they come."""
    pending = b""
    while chunk := os.read(descriptor, 65536):
        *lines, pending = (pending + chunk).split(b"\n")
        yield from lines


def _start_guardian() -> None:
    """Fork a process that ends this one, and all it has started, when the parent is gone.

    The parent holds the other end of the standard input, so the kernel tells when it dies, however
    it dies. A thread could not do this: code that hangs may hold the interpreter's lock.
    """
    worker = os.getpid()
    if os.fork():
        return
    os.close(1)  # else the parent would take the worker for alive while the guardian is
    poll = select.poll()
    poll.register(0, 0)  # only a hang-up is reported: the lines are for the worker to read
    poll.poll()
    if os.getpgid(0) == worker:  # the parent gave the worker a group of its own
        os.killpg(worker, signal.SIGKILL)
    os.kill(worker, signal.SIGKILL)
    os._exit(0)
