"""The worker's connection to its parent: messages, failures, and the guardian.

The guardian ends the worker with its parent. An exception becomes the message that a table shows.
This module does not import torch on import, because that import may be what fails.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import select
import signal
import threading
import traceback
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError

from pydantic import BaseModel

from cnnperf.errors import DataError, NotInstalledError, UsageError
from cnnperf.record.messages import GO, JOB, Failed, ProbeJob, TrainJob
from cnnperf.record.schema import ErrorKind


class Channel:
    """Read the job and `go` from standard input; write messages to a file descriptor.

    Create the channel before anything that starts a thread or takes much memory: it forks.
    """

    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)  # programs that a training starts get no part in it
        _start_guardian(descriptor)
        self._out = os.fdopen(descriptor, "wb", buffering=0)
        # Plain descriptors: a thread in a buffered read holds its lock, which blocks Python's exit.
        self._lines = _read_lines(os.dup(0))
        with open(os.devnull, "rb") as nothing:  # noqa: PTH123
            os.dup2(nothing.fileno(), 0)
        self._go = threading.Event()
        self._lock = threading.Lock()

    def read_job(self) -> TrainJob | ProbeJob:
        """Read the first line, the job, and listen for `go` from then on."""

        def listen() -> None:
            for line in self._lines:
                if line == GO.encode():
                    self._go.set()

        job = JOB.validate_json(next(self._lines, b""))
        threading.Thread(target=listen, name="cnnperf-parent", daemon=True).start()
        return job

    def send(self, message: BaseModel) -> None:
        """Send one message."""
        with self._lock:
            self._out.write(message.model_dump_json().encode() + b"\n")

    def wait_for_go(self) -> None:
        """Wait until the parent sends `go`."""
        self._go.wait()


def _read_lines(descriptor: int) -> Iterator[bytes]:
    pending = b""
    while chunk := os.read(descriptor, 65536):
        *lines, pending = (pending + chunk).split(b"\n")
        yield from lines


def _start_guardian(descriptor: int) -> None:
    """Fork a process that kills this one and its children when the parent is gone.

    The parent holds the other end of standard input, so the kernel reports its death, whatever the
    cause. A thread could not do this: code that hangs may hold the interpreter's lock.
    """
    worker = os.getpid()
    if os.fork():
        return
    os.close(descriptor)  # otherwise the guardian would keep the messages open after their end
    poll = select.poll()
    poll.register(0, 0)  # wait for the hang-up only: the worker reads the lines
    poll.poll()
    if os.getpgid(0) == worker:  # the parent gave the worker its own group
        os.killpg(worker, signal.SIGKILL)
    os.kill(worker, signal.SIGKILL)
    os._exit(0)


OUT_OF_MEMORY = re.compile(
    "out of memory|defaultcpuallocator|can(no|')t allocate memory|not enough memory"
    "|cublas_status_alloc_failed|std::bad_alloc",
    re.IGNORECASE,
)
"""Parts of torch's messages for out-of-memory RuntimeErrors: on a CPU, in cuBLAS, in a loader."""

NOT_DETERMINISTIC = " does not have a deterministic implementation"
"""Torch's words after the name of an operation, before its advice."""

TRAIN_EXTRA = "pip install 'cnnperf[train]' (torch, torchvision and scikit-learn from one index)"


def failed_message(error: BaseException) -> Failed:
    """Return the message to the parent; a user's own mistake needs no traceback."""
    kind, message = _kind_and_message(error)
    is_complete = isinstance(error, UsageError) and error.__cause__ is None
    trace = None if is_complete else "".join(traceback.format_exception(error))
    return Failed(error=kind, message=message, traceback=trace)


def _kind_and_message(error: BaseException) -> tuple[ErrorKind, str]:
    text = one_line(str(error))
    if isinstance(error, NotInstalledError):
        return "start", text
    if isinstance(error, UsageError):
        return "data" if isinstance(error, DataError) else "exception", text
    if type(error).__name__ == "NaNLossError":
        return "nan_loss", text
    if (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and OUT_OF_MEMORY.search(str(error)))
    ):
        return "out_of_memory", f"out of memory: {text}"
    operation, found, _ = text.partition(NOT_DETERMINISTIC)
    if found:
        return "exception", (
            f"{operation} has no deterministic implementation on this device: exclude the case "
            "with -k, choose another --cnnperf-device, or omit --cnnperf-deterministic"
        )
    return "exception", f"{type(error).__name__}: {text}" if text else type(error).__name__


def one_line(text: str, limit: int = 300) -> str:
    """Return a text on one line, cut at the end to `limit` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def check_torch() -> None:
    """Import torch, torchvision and scikit-learn, with a clear error if that fails.

    Raises:
        NotInstalledError: a package is missing, or torch and torchvision do not match.
    """
    try:
        import sklearn  # noqa: F401
        import torch  # noqa: F401
        import torchvision  # noqa: F401
    except ModuleNotFoundError as error:
        raise NotInstalledError(
            f"training needs {error.name}, which is not installed: {TRAIN_EXTRA}"
        ) from error
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        raise NotInstalledError(
            f"torch {_version('torch')} and torchvision {_version('torchvision')} are different "
            "builds (one for CUDA, one for CPU only) and cannot be loaded together: run "
            "`pip uninstall -y torch torchvision`, then `pip install torch torchvision` in one "
            "command, so that both come from one index"
        ) from error


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except PackageNotFoundError:
        return "(unknown)"
