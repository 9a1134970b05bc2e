"""The worker's two ends of the line to its parent, and its duty to die with it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Iterator

from pydantic import BaseModel

from cnnperf.protocol import GO, JOB, ProbeJob, TrainJob

PR_SET_PDEATHSIG = 1
"""From linux/prctl.h: the signal this process gets when its parent dies."""


class Channel:
    """Reads the job and `go` from standard input; writes messages to standard output.

    Whatever else in this process prints goes to standard error: a library's chatter must not
    look like a message. Nothing else reads the input either.
    """

    def __init__(self) -> None:
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
        """The first line; from then on a closed input ends this process."""
        job = JOB.validate_json(next(self._lines, b""))
        _die_with_parent()
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
        kill_own_group()


def _read_lines(descriptor: int) -> Iterator[bytes]:
    """Lines without their ends, as they come."""
    pending = b""
    while chunk := os.read(descriptor, 65536):
        *lines, pending = (pending + chunk).split(b"\n")
        yield from lines


def _die_with_parent() -> None:
    """Ask Linux for a SIGKILL when the parent dies: it comes even while C code holds the GIL."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def kill_own_group() -> None:
    """End this process and its DataLoader workers at once; the parent put them in one group."""
    if os.getpgid(0) == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)
