"""The parent's end of a worker: start it, let it go, wait for it, end it whatever happens.

Torch-free. Every way in which a worker can fail becomes a `WorkerError` with a kind and one
line; no process of a worker outlives the `with` block that started it.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import IO, TypeVar

from pydantic import ValidationError

from cnnperf.errors import UsageError
from cnnperf.record.messages import (
    GO,
    MESSAGE,
    EpochDone,
    Failed,
    Message,
    ProbeJob,
    ProbeResult,
    Progress,
    Ready,
    Result,
    Trained,
    TrainJob,
)
from cnnperf.record.schema import CaseError, ErrorKind
from cnnperf.run.allocator import worker_environment
from cnnperf.run.time_limit import TimeLimit

START_SECONDS = 300.0
"""How long a worker may take to start, at the least: a training's limit says nothing of that, and
the first import of torch from a cold disk, on a busy machine, takes minutes."""

EXIT_SECONDS = 30.0
"""How long a worker may take to leave after its last word."""

POLL_SECONDS = 0.5
"""How often a waiting parent looks up, so that Ctrl-C and the timeout are noticed."""

STDERR_TAIL_BYTES = 20_000

M = TypeVar("M", bound=Message)
Listener = Callable[[Progress | EpochDone], None]


def ignore_progress(message: Progress | EpochDone) -> None:
    """For callers who do not want to know."""


class WorkerError(Exception):
    """A worker failed; `kind` and the message are what the case's record says."""

    def __init__(self, kind: ErrorKind, message: str, traceback: str | None = None) -> None:
        super().__init__(message)
        self.kind: ErrorKind = kind
        self.traceback = traceback
        self.seed: int | None = None
        """Of the repeat that failed, once somebody who knows it has said so."""

    def as_case_error(self) -> CaseError:
        """The same for the record."""
        return CaseError(
            kind=self.kind, message=str(self), seed=self.seed, traceback=self.traceback
        )


class Worker:
    """A worker process doing one job.

    It notes by the monotonic clock when the process was about to be started (`spawned_at`), when
    the message last waited for was heard (`heard_at`) and when the process was gone (`ended_at`).

    Args:
        job: what it is to do.
        python: the interpreter that runs it; its environment is what gets measured.
        timeout_seconds: from `go` to the result, and, unless `START_SECONDS` is longer, from the
            start until the worker is ready; None waits for ever.
        limit: of the run: `OutOfTimeError` is raised when it is over.
        listener: told of progress while the parent waits.
    """

    def __init__(
        self,
        job: TrainJob | ProbeJob,
        *,
        python: str | None = None,
        timeout_seconds: float | None = None,
        limit: TimeLimit | None = None,
        listener: Listener = ignore_progress,
    ) -> None:
        self._limit = limit or TimeLimit(None)
        self._job = job
        self._python = python or sys.executable
        self._timeout_seconds = timeout_seconds
        self._limit_seconds = timeout_seconds and max(timeout_seconds, START_SECONDS)
        self._listener = listener
        self._messages: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._where = "while starting"

    def __enter__(self) -> Worker:
        self._oom_kills = count_oom_kills()
        self._stderr: IO[bytes] = tempfile.TemporaryFile()
        self.spawned_at = self._waiting_since = time.monotonic()
        try:
            self._process = subprocess.Popen(
                [self._python, "-m", "cnnperf.training.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                env=worker_environment(self._job),
                # A group of its own: Ctrl-C reaches pytest alone, which then ends the whole group.
                start_new_session=True,
            )
        except OSError as error:
            self._stderr.close()
            raise WorkerError(
                "start", f"{self._python} cannot be started: {error.strerror or error}"
            ) from error
        self._reader = threading.Thread(target=self._read_messages, daemon=True)
        self._reader.start()
        self._send(self._job.model_dump_json())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
        self._reader.join(timeout=EXIT_SECONDS)
        for stream in (self._process.stdin, self._process.stdout, self._stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    @property
    def pid(self) -> int:
        """Of the worker; its DataLoader workers are its children."""
        return self._process.pid

    def wait_ready(self) -> Ready:
        """Until the worker is prepared."""
        ready = self._wait_for(Ready)
        self._where = "before the clock started"
        return ready

    def go(self) -> None:
        """Start the clock, from which the limit counts anew."""
        self._waiting_since, self._limit_seconds = time.monotonic(), self._timeout_seconds
        infers = isinstance(self._job, TrainJob) and self._job.case.suite == "infer"
        self._where = "while measuring inference" if infers else "while reading the data set"
        self._send(GO)

    def wait_trained(self) -> Trained:
        """Until the clock has stopped."""
        trained = self._wait_for(Trained)
        self._where = "while evaluating the test set"
        return trained

    def wait_result(self) -> Result:
        """Until the worker has said its last word and left."""
        result = self._wait_for(Result)
        self._wait_for_exit()
        return result

    def wait_probe(self) -> ProbeResult:
        """The answer to a `ProbeJob`."""
        result = self._wait_for(ProbeResult)
        self._wait_for_exit()
        return result

    def kill(self) -> None:
        """End the worker and everything it started, at once; harmless when it is gone."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        # A worker that is gone already is found, with its reason, by the next wait.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()

    def _read_messages(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._messages.put(line)
        self._messages.put(None)

    def _wait_for(self, wanted: type[M]) -> M:
        """The next message of that type; progress is passed on, anything else is a failure."""
        while True:
            line = self._next_line()
            if line is None:
                raise self._explain_exit()
            try:
                message = MESSAGE.validate_json(line)
            except ValidationError as error:
                raise WorkerError(
                    "protocol",
                    f"the worker said {line[:80]!r}, which is no message of this cnnperf: does "
                    f"{self._python} have another version of it?",
                ) from error
            if isinstance(message, wanted):
                self.heard_at = time.monotonic()
                return message
            if isinstance(message, Failed):
                raise WorkerError(message.error, message.message, message.traceback)
            if isinstance(message, Progress | EpochDone):
                self._where = describe_progress(message)
                self._listener(message)

    def _next_line(self) -> bytes | None:
        """The next line, or None at the end; looks up now and then for the timeout."""
        while True:
            self._check_timeout()
            with contextlib.suppress(queue.Empty):
                return self._messages.get(timeout=POLL_SECONDS)
            if self._process.poll() is not None:
                self.kill()  # children that outlive it hold its output open, which then never ends

    def _check_timeout(self) -> None:
        if self._limit.is_over:
            self.kill()
            raise self._limit.cut_off()
        limit = self._limit_seconds
        if limit is not None and time.monotonic() - self._waiting_since > limit:
            self.kill()
            raise WorkerError(
                "timeout",
                f"no result after {limit:g} s ({self._where}): it hangs or is too slow; "
                "--cnnperf-timeout sets the limit",
            )

    def _wait_for_exit(self) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=EXIT_SECONDS)
        self.ended_at = time.monotonic()

    def _explain_exit(self) -> WorkerError:
        """Why the worker is gone without a last word."""
        try:
            code = self._process.wait(timeout=EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            return WorkerError("protocol", f"the worker closed its output ({self._where})")
        tail = self._stderr_tail()
        if code >= 0:
            last = tail.strip().splitlines()[-1] if tail.strip() else "it said nothing"
            message = f"the worker left with exit code {code} ({self._where}): {last}"
            return WorkerError("exception", message, tail or None)
        name = signal.Signals(-code).name
        if code == -signal.SIGKILL and count_oom_kills() > self._oom_kills:
            message = f"killed by the kernel, as the machine's memory ran out ({self._where})"
            return WorkerError("out_of_memory", message, tail or None)
        return WorkerError("killed", f"killed by {name} ({self._where})", tail or None)

    def _stderr_tail(self) -> str:
        self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, self._stderr.tell() - STDERR_TAIL_BYTES))
        return self._stderr.read().decode(errors="replace")


def describe_progress(message: Progress | EpochDone) -> str:
    """Where a worker was when it was last heard of."""
    if isinstance(message, EpochDone):
        return f"last heard of after epoch {message.result.epoch} of {message.epochs}"
    if message.phase == "train":
        return f"last heard of in epoch {message.epoch} of {message.epochs}, step {message.step}"
    if message.phase == "inference":
        done = f"{message.step} of {message.steps} configurations done"
        return f"last heard of measuring inference, {done}"
    return f"last heard of in the {message.phase} of epoch {message.epoch} of {message.epochs}"


def count_oom_kills() -> int:
    """Processes that this Linux kernel killed for want of memory since it started; else 0."""
    try:
        with open("/proc/vmstat") as lines:  # noqa: PTH123
            return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
    except OSError:
        return 0


def probe(
    job: ProbeJob, *, python: str | None = None, timeout_seconds: float | None = None
) -> ProbeResult:
    """Ask a worker what machine this is.

    Raises:
        UsageError: it cannot say, and therefore could not train either.
    """
    try:
        with Worker(job, python=python, timeout_seconds=timeout_seconds) as worker:
            return worker.wait_probe()
    except WorkerError as error:
        raise UsageError(str(error)) from error
