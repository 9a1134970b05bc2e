"""The worker's connection to its parent: messages, failures, and the guardian.

The guardian ends the worker with its parent. An exception becomes the message that a table shows.
This module does not import torch on import, because that import may be what fails.
"""

from __future__ import annotations

import errno
import importlib.metadata
import os
import re
import select
import shutil
import signal
import sys
import sysconfig
import threading
import traceback
from collections.abc import Iterator
from importlib.machinery import PathFinder
from importlib.metadata import PackageNotFoundError
from importlib.util import find_spec
from pathlib import Path
from typing import cast

from pydantic import BaseModel

from cnnperf.errors import CommandError, DataError, NaNLossError, NotInstalledError, UsageError
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

NO_SHARED_MEMORY = re.compile(
    "shared memory.*(no space left|bus error)|bus error.*shared memory", re.I
)
"""Parts of torch's messages when a batch does not fit into /dev/shm."""

NOT_DETERMINISTIC = " does not have a deterministic implementation"
"""Torch's words after the name of an operation, before its advice."""

TRAIN_EXTRA = "pip install 'cnnperf[train]' (torch, torchvision and scikit-learn from one index)"


def failed_message(error: BaseException) -> Failed:
    """Return the message to the parent; a user's own mistake needs no traceback."""
    kind, message = _kind_and_message(error)
    is_complete = isinstance(error, UsageError) and error.__cause__ is None
    trace = None if is_complete else "".join(traceback.format_exception(error))
    trace = getattr(error, "output", None) or trace
    return Failed(error=kind, message=message + _hidden_module(error), traceback=trace)


def _kind_and_message(error: BaseException) -> tuple[ErrorKind, str]:
    text = one_line(_own_text(error))
    if isinstance(error, NotInstalledError):
        return "start", text
    if isinstance(error, CommandError):
        return cast("ErrorKind", error.kind), text
    if isinstance(error, UsageError):
        return "data" if isinstance(error, DataError) else "exception", text
    if isinstance(error, NaNLossError):
        return "nan_loss", text
    if _lacks_shared_memory(error, text):
        return "out_of_memory", (
            f"shared memory ran out: DataLoader workers pass batches through {SHARED_MEMORY}, and "
            f"it has {_mebibytes(SHARED_MEMORY)} (a container's default is 64 MB): start the "
            "container with `docker run --shm-size=1g` or `--ipc=host`"
        )
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


SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - the kernel's, not a file of ours


def _lacks_shared_memory(error: BaseException, text: str) -> bool:
    if NO_SHARED_MEMORY.search(text):
        return True
    # A semaphore that finds no room has no file name; a data set on a full disk has one.
    full = isinstance(error, OSError) and error.errno == errno.ENOSPC and error.filename is None
    return full and SHARED_MEMORY.is_dir() and shutil.disk_usage(SHARED_MEMORY).free < 2**20


def _mebibytes(folder: Path) -> str:
    return f"{shutil.disk_usage(folder).total / 2**20:.3g} MiB" if folder.is_dir() else "no room"


def _own_text(error: BaseException) -> str:
    """Return an error's text, without the traceback that a DataLoader's worker puts before it."""
    text = str(error)
    if not text.startswith("Caught ") or "Traceback (most recent call last):" not in text:
        return text
    frames = text.rpartition("Traceback (most recent call last):")[2].lstrip("\n").splitlines()
    own = [line for line in frames if not line.startswith(" ")]
    return "\n".join(own).removeprefix(f"{type(error).__name__}: ")


def _hidden_module(error: BaseException | None) -> str:
    """Return which file hides another module of the same name, such as a user's `profile.py`.

    Empty if none does. Python's own messages rarely name the file.
    """
    while error is not None:
        named = sys.modules.get((getattr(error, "name", None) or "").partition(".")[0])
        modules = (
            [getattr(error, "obj", None), named] if isinstance(error, ATTRIBUTE_OR_IMPORT) else []
        )
        files = [getattr(module, "__file__", None) or "" for module in modules]
        run = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
        files += [file for file in reversed(run) if not INSTALLED.search(file)]
        for file in map(Path, files):
            folders = [folder for folder in sys.path if Path(folder) != file.parent]
            other = PathFinder.find_spec(file.stem, folders)
            if str(file.parent) in sys.path and other is not None and other.origin:
                return f"; {file} hides {other.origin}: rename the one that is yours"
        error = error.__cause__ or error.__context__
    return ""


ATTRIBUTE_OR_IMPORT = (AttributeError, ImportError)
INSTALLED = re.compile(f"^<|-packages/|^{re.escape(sysconfig.get_path('stdlib'))}")


def one_line(text: str, limit: int = 300) -> str:
    """Return a text on one line, cut at the end to `limit` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def check_torch(*, everything: bool = True) -> None:
    """Import torch and torchvision and look for scikit-learn, with a clear error if that fails.

    Without `everything`, only torch: the others take a second, which a training spares that does
    not use them, and the probe of its run has looked at them.

    Raises:
        NotInstalledError: a package is missing, or torch and torchvision do not match.
    """
    if everything and find_spec("sklearn") is None:  # only a file of it is read
        raise _not_installed("sklearn")
    try:
        import torch  # noqa: F401

        if everything:
            import torchvision  # noqa: F401
    except ModuleNotFoundError as error:
        raise _not_installed(error.name) from error
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        raise NotInstalledError(
            f"torch {_version('torch')} and torchvision {_version('torchvision')} are different "
            "builds (one for CUDA, one for CPU only) and cannot be loaded together: run "
            "`pip uninstall -y torch torchvision`, then `pip install torch torchvision` in one "
            "command, so that both come from one index"
        ) from error


def _not_installed(package: str | None) -> NotInstalledError:
    return NotInstalledError(f"training needs {package}, which is not installed: {TRAIN_EXTRA}")


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except PackageNotFoundError:
        return "(unknown)"
