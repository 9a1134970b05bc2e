"""The worker's connection to its parent, and the guardian that ends the worker with it."""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Iterator

from pydantic import BaseModel

from cnnperf.record.messages import GO, JOB, ProbeJob, TrainJob


class Channel:
    """Read the job and `go` from standard input; write messages to standard output.

    All other output of this process goes to standard error, because a library's print must not look
    like a message. Create the channel before anything that starts a thread or takes much memory: it
    forks.
    """

    def __init__(self) -> None:
        _start_guardian()
        self._out = os.fdopen(os.dup(1), "wb", buffering=0)
        os.dup2(2, 1)
        # Plain descriptors: a thread in a buffered read holds its lock, which blocks Python's exit.
        self._lines = _read_lines(os.dup(0))
        with open(os.devnull, "rb") as nothing:  # noqa: PTH123
            os.dup2(nothing.fileno(), 0)
        self._go = threading.Event()
        self._lock = threading.Lock()

    def read_job(self) -> TrainJob | ProbeJob:
        """Read the first line, the job, and listen for `go` from then on."""
        job = JOB.validate_json(next(self._lines, b""))
        threading.Thread(target=self._listen, name="cnnperf-parent", daemon=True).start()
        return job

    def send(self, message: BaseModel) -> None:
        """Send one message."""
        with self._lock:
            self._out.write(message.model_dump_json().encode() + b"\n")

    def wait_for_go(self) -> None:
        """Wait until the parent sends `go`."""
        self._go.wait()

    def _listen(self) -> None:
        for line in self._lines:
            if line == GO.encode():
                self._go.set()


def _read_lines(descriptor: int) -> Iterator[bytes]:
    """Yield lines without their ends, as they arrive."""
    pending = b""
    while chunk := os.read(descriptor, 65536):
        *lines, pending = (pending + chunk).split(b"\n")
        yield from lines


def _start_guardian() -> None:
    """Fork a process that kills this one and its children when the parent is gone.

    The parent holds the other end of standard input, so the kernel reports its death, whatever the
    cause. A thread could not do this: code that hangs may hold the interpreter's lock.
    """
    worker = os.getpid()
    if os.fork():
        return
    os.close(1)  # otherwise the guardian would keep the worker's output open after its end
    poll = select.poll()
    poll.register(0, 0)  # wait for the hang-up only: the worker reads the lines
    poll.poll()
    if os.getpgid(0) == worker:  # the parent gave the worker its own group
        os.killpg(worker, signal.SIGKILL)
    os.kill(worker, signal.SIGKILL)
    os._exit(0)
