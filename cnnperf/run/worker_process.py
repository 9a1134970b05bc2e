"""The parent's end of a worker process: start it, wait for it, and always end it.

Every failure of a worker becomes a `WorkerError` with a kind and one line. No process of a worker
outlives the `with` block that started it.
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

import psutil
from pydantic import ValidationError

from cnnperf.errors import UsageError
from cnnperf.machine.host import attempt
from cnnperf.machine.nodes import LAUNCHED
from cnnperf.machine.nvml import count_gpus
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
from cnnperf.run.time_limit import TimeLimit

START_SECONDS = 300.0
"""Shortest time limit of a start: the first import of torch from a cold disk, on a busy machine,
takes minutes."""

EXIT_SECONDS = 30.0
"""Time limit of a worker's exit after its final message."""

POLL_SECONDS = 0.5
"""How often a waiting parent checks for Ctrl-C and the timeout."""

STDERR_TAIL_BYTES = 20_000

KEEP_MEMORY = (
    "glibc.malloc.mmap_max=0:"  # no separate mappings, which end when freed
    "glibc.malloc.trim_threshold=1099511627776:"  # never return memory to the kernel
    "glibc.malloc.top_pad=67108864:"  # grow 64 MiB at a time
    "glibc.malloc.hugetlb=1"  # transparent huge pages if the kernel offers them
)
"""Tunables of glibc's allocator, which reads them when a process starts.

Every step frees and allocates hundreds of megabytes of activations. glibc returns large blocks to
the kernel, which must clear and map them again in the next step (docs/performance.md has the cost).
Source: glibc's manual, "Memory Allocation Tunables". Other C libraries ignore the variable.
"""

M = TypeVar("M", bound=Message)
Listener = Callable[[Progress | EpochDone], None]


def ignore_progress(message: Progress | EpochDone) -> None:
    """Do nothing; the listener of callers who need no progress."""


class WorkerError(Exception):
    """A worker failed; the record of the case gets `kind` and the message."""

    def __init__(self, kind: ErrorKind, message: str, traceback: str | None = None) -> None:
        super().__init__(message)
        self.kind: ErrorKind = kind
        self.traceback = traceback
        self.seed: int | None = None
        """Seed of the failed repeat; the caller sets it."""

    def as_case_error(self) -> CaseError:
        """Return the error as the record stores it."""
        return CaseError(
            kind=self.kind, message=str(self), seed=self.seed, traceback=self.traceback
        )


class Worker:
    """A worker process that does one job.

    Three moments are kept, in seconds of the monotonic clock: just before the process is started
    (`spawned_at`), when the last awaited message arrived (`heard_at`), and when the process was
    gone (`ended_at`).

    Args:
        job: the job.
        python: the interpreter that runs it; its environment is measured.
        timeout_seconds: limit from `go` to the result, and from the start to `ready` unless
            `START_SECONDS` is longer; None waits forever.
        limit: time limit of the run; `OutOfTimeError` is raised when it is reached.
        listener: called with each progress message.
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
        self._preparing: Progress | None = None
        """The last message, if the worker is silent while it prepares."""

    def __enter__(self) -> Worker:
        self._oom_kills = count_oom_kills()
        self._stderr: IO[bytes] = tempfile.TemporaryFile()
        output, messages = os.pipe()
        self._output = os.fdopen(output, "rb")
        self.spawned_at = self._waiting_since = time.monotonic()
        try:
            self._process = subprocess.Popen(
                # -P: a `json.py` in the current folder is not Python's.
                [self._python, "-P", "-m", "cnnperf.training.worker", str(messages)],
                stdin=subprocess.PIPE,
                stdout=self._stderr,
                stderr=self._stderr,
                pass_fds=(messages,),
                env=worker_environment(self._job),
                # In its own process group, so that Ctrl-C reaches only the parent, which ends it.
                start_new_session=True,
            )
        except OSError as error:
            self._stderr.close()
            self._output.close()
            raise WorkerError(
                "start", f"{self._python} cannot be started: {error.strerror or error}"
            ) from error
        finally:
            os.close(messages)
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
        for stream in (self._process.stdin, self._output, self._stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    @property
    def pid(self) -> int:
        """PID of the worker; DataLoader workers are its children."""
        return self._process.pid

    def wait_ready(self) -> Ready:
        """Wait until the worker is prepared."""
        ready = self._wait_for(Ready)
        self._where = "before the clock started"
        return ready

    def go(self) -> None:
        """Start the clock and restart the timeout."""
        self._waiting_since, self._limit_seconds = time.monotonic(), self._timeout_seconds
        infers = isinstance(self._job, TrainJob) and self._job.case.suite == "infer"
        self._where = "while measuring inference" if infers else "while reading the data set"
        self._send(GO)

    def wait_trained(self) -> Trained:
        """Wait until the clock has stopped."""
        trained = self._wait_for(Trained)
        self._where = "while evaluating the test set"
        return trained

    def wait_result(self) -> Result:
        """Wait for the result of a training and the exit of the worker."""
        return self._wait_for_final(Result)

    def wait_probe(self) -> ProbeResult:
        """Wait for the answer to a `ProbeJob` and the exit of the worker."""
        return self._wait_for_final(ProbeResult)

    def kill(self) -> None:
        """Kill the worker and everything it started; harmless if it is gone.

        The ranks of several devices have groups of their own.
        """
        started = attempt(lambda: psutil.Process(self._process.pid).children(recursive=True)) or []
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        for process in started:
            attempt(process.kill)
        psutil.wait_procs(started, timeout=EXIT_SECONDS)
        self._process.wait()

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        # If the worker is gone, the next wait finds it and explains why.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()

    def _read_messages(self) -> None:
        for line in self._output:
            self._messages.put(line)
        self._messages.put(None)

    def _wait_for(self, wanted: type[M]) -> M:
        while True:
            line = self._next_line()
            if line is None:
                raise self._explain_exit()
            try:
                message = MESSAGE.validate_json(line)
            except ValidationError as error:
                raise WorkerError(
                    "protocol",
                    f"unexpected message from the worker: {line[:80]!r}; {self._python} may have "
                    "another version of cnnperf",
                ) from error
            if isinstance(message, wanted):
                self._preparing = None
                self.heard_at = time.monotonic()
                return message
            if isinstance(message, Failed):
                raise WorkerError(message.error, message.message, message.traceback)
            if isinstance(message, Progress | EpochDone):
                self._where = describe_progress(message)
                self._preparing = None
                if isinstance(message, Progress) and message.phase == "build":
                    self._preparing = message
                self._listener(message)

    def _next_line(self) -> bytes | None:
        """Return the next line, or None at the end of the output; check the timeout meanwhile."""
        while True:
            self._check_timeout()
            with contextlib.suppress(queue.Empty):
                return self._messages.get(timeout=POLL_SECONDS)
            if self._preparing is not None:
                self._listener(self._preparing)  # a log gets a line now and then
            if self._process.poll() is not None:
                self.kill()  # children that are left would keep the output open

    def _check_timeout(self) -> None:
        if self._limit.is_over:
            self.kill()
            raise self._limit.cut_off()
        limit = self._limit_seconds
        if limit is not None and time.monotonic() - self._waiting_since > limit:
            self.kill()
            raise WorkerError(
                "timeout",
                f"no result after {limit:g} s ({self._where}): it hangs or is slow; raise "
                "--cnnperf-timeout if it is only slow",
            )

    def _wait_for_final(self, wanted: type[M]) -> M:
        result = self._wait_for(wanted)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=EXIT_SECONDS)
        self.ended_at = time.monotonic()
        return result

    def _explain_exit(self) -> WorkerError:
        try:
            code = self._process.wait(timeout=EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            return WorkerError("protocol", f"the worker closed its output ({self._where})")
        tail = self._stderr_tail()
        if code >= 0:
            last = tail.strip().splitlines()[-1] if tail.strip() else "no error output"
            message = f"the worker ended with exit code {code} ({self._where}): {last}"
            return WorkerError("exception", message, tail or None)
        name = signal.Signals(-code).name
        if code == -signal.SIGKILL and count_oom_kills() > self._oom_kills:
            message = f"killed by the kernel because memory ran out ({self._where})"
            return WorkerError("out_of_memory", message, tail or None)
        return WorkerError("killed", f"killed by {name} ({self._where})", tail or None)

    def _stderr_tail(self) -> str:
        self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, self._stderr.tell() - STDERR_TAIL_BYTES))
        return self._stderr.read().decode(errors="replace")


def worker_environment(job: TrainJob | ProbeJob) -> dict[str, str]:
    """Return this process's environment, with `KEEP_MEMORY` for `fast` on a CPU.

    Tunables that the user has set stay. Whether `auto` is the CPU is guessed without torch. Only
    several devices need what torchrun has told this process.
    """
    environment = dict(os.environ)
    if not isinstance(job, TrainJob) or getattr(job.case, "devices", None) is None:
        environment = {n: v for n, v in environment.items() if not LAUNCHED.fullmatch(n)}
    fast = isinstance(job, TrainJob) and job.case.engine == "fast"
    if fast and (job.device == "cpu" or (job.device == "auto" and not count_gpus())):
        return {"GLIBC_TUNABLES": KEEP_MEMORY, **environment}
    return environment


def describe_progress(message: Progress | EpochDone) -> str:
    """Return where a worker was at its last message, for error messages."""
    if isinstance(message, Progress) and message.waits_for is not None:
        where = describe_progress(message.model_copy(update={"waits_for": None}))
        return f"{where}; the others wait for {message.waits_for}"
    if isinstance(message, EpochDone):
        return f"last heard of after epoch {message.result.epoch} of {message.epochs}"
    if message.phase == "train":
        return f"last heard of in epoch {message.epoch} of {message.epochs}, step {message.step}"
    if message.phase == "build":
        return "while building the model and warming up"
    if message.phase == "data":
        return f"last heard of reading images, {message.step} of {message.steps} done"
    if message.phase == "inference":
        done = f"{message.step} of {message.steps} configurations done"
        return f"last heard of measuring inference, {done}"
    return f"last heard of in the {message.phase} of epoch {message.epoch} of {message.epochs}"


def count_oom_kills() -> int:
    """Return how many processes this Linux kernel has killed for lack of memory, else 0."""
    try:
        with open("/proc/vmstat") as lines:  # noqa: PTH123
            return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
    except OSError:
        return 0


def probe(
    job: ProbeJob, *, python: str | None = None, timeout_seconds: float | None = None
) -> ProbeResult:
    """Ask a worker what this machine and its software are.

    Raises:
        UsageError: the worker failed, and could not train either.
    """
    try:
        with Worker(job, python=python, timeout_seconds=timeout_seconds) as worker:
            return worker.wait_probe()
    except WorkerError as error:
        raise UsageError(str(error)) from error
