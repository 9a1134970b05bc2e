"""Train one case on several devices: torch's launcher starts a process for each.

This process is the worker that the parent knows. It lets `torch.distributed.launcher` start the
ranks, which are workers too, and is their parent: it writes the job and `go` to a pipe of each, and
passes on what the first of them reports. A rank that fails ends the training with its number, host
and reason; one that others wait for is named while they wait. If this process dies, the kernel
closes the pipes, and the guardian of every rank ends it.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from signal import SIGTERM, Signals

from pydantic import ValidationError
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from cnnperf.errors import UsageError
from cnnperf.machine.nodes import Nodes, find_nodes
from cnnperf.record.messages import GO, MESSAGE, Failed, Progress, TrainJob
from cnnperf.record.schema import ErrorKind
from cnnperf.training.worker.channel import Channel, one_line
from cnnperf.training.worker.pipes import create_marks, read_marks

WAIT_SECONDS = 3600
"""How long a node waits for the others, which may still train what needs one node."""

WATCH_SECONDS = 2.0
"""How long no rank may advance before those that others wait for are named."""

LAST_WORDS_SECONDS = 5.0
"""How long to wait for the final message of a rank that has ended."""


def run_ranks(job: TrainJob, channel: Channel) -> int:
    """Train on the case's devices, pass on the messages of this node's first rank, and return 0.

    If a rank fails, its failure is the final message, and the result is 1.

    Raises:
        UsageError: the devices cannot be divided among the nodes.
    """
    devices = getattr(job.case, "devices", None) or 1
    nodes = find_nodes().of(devices)
    if devices % nodes.count:
        raise UsageError(f"{devices} devices cannot be divided among {nodes.count} nodes")
    here = devices // nodes.count
    if job.device in ("auto", "cpu"):
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    folder = Path(tempfile.mkdtemp(prefix="cnnperf-ranks-"))
    try:
        group = _Group(folder, here, first=nodes.rank * here, channel=channel)
        group.open(job)
        return group.launch(_configuration(nodes, here, f"{job.case.id}-{job.seed}"))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _configuration(nodes: Nodes, here: int, run_id: str) -> LaunchConfig:
    limits = {"timeout": WAIT_SECONDS}
    return LaunchConfig(
        min_nodes=nodes.count,
        max_nodes=nodes.count,
        nproc_per_node=here,
        run_id=run_id,
        rdzv_backend="c10d" if nodes.count == 1 else "static",
        rdzv_endpoint=nodes.endpoint,
        rdzv_configs=limits if nodes.count == 1 else {**limits, "rank": nodes.rank},
        max_restarts=0,
        monitor_interval=0.05,
    )


class _Group:
    """The ranks of this node, as their parent sees them."""

    def __init__(self, folder: Path, here: int, *, first: int, channel: Channel) -> None:
        self._folder, self._here, self._first = folder, here, first
        self._channel = channel
        self._failures: dict[int, Failed] = {}
        self._progress: Progress | None = None
        self._final = threading.Event()
        self._ended = threading.Event()

    def open(self, job: TrainJob) -> None:
        """Create the pipes, write the job into them, and start to listen."""
        line = job.model_dump_json().encode() + b"\n"
        create_marks(self._folder, self._here)
        self._inputs = []
        for rank in range(self._here):
            for name in ("in", "out"):
                os.mkfifo(self._folder / f"{rank}.{name}")
            # For reading too, so that neither open waits for the other end.
            self._inputs.append(os.open(self._folder / f"{rank}.in", os.O_RDWR))
            output = os.open(self._folder / f"{rank}.out", os.O_RDWR)
            self._in_background(self._write, self._inputs[rank], line)
            self._in_background(self._listen, rank, output)
        self._in_background(self._pass_on_go)
        self._in_background(self._watch)

    @staticmethod
    def _in_background(work: Callable[..., None], *arguments: object) -> None:
        threading.Thread(target=work, args=arguments, daemon=True).start()

    @staticmethod
    def _write(descriptor: int, line: bytes) -> None:
        """Write to a pipe, in a thread of its own: a job may exceed what the pipe holds."""
        while line:
            line = line[os.write(descriptor, line) :]

    def _pass_on_go(self) -> None:
        self._channel.wait_for_go()
        for descriptor in self._inputs:
            os.write(descriptor, GO.encode() + b"\n")

    def _listen(self, rank: int, descriptor: int) -> None:
        with os.fdopen(descriptor, "rb") as lines:
            for line in lines:
                with suppress(ValidationError):
                    self._hear(rank, line)

    def _hear(self, rank: int, line: bytes) -> None:
        message = MESSAGE.validate_json(line)
        if isinstance(message, Failed):
            self._failures.setdefault(rank, message)
            return
        if rank > 0:
            return
        if isinstance(message, Progress):
            self._progress = message
        self._channel.send(message)
        if message.kind == "result":
            self._final.set()

    # --- who is missing -------------------------------------------------------------------------

    def _behind(self) -> list[int]:
        """Return the ranks of this node that have not sent what others have."""
        marks = read_marks(self._folder)
        return [rank for rank, mark in enumerate(marks) if mark < max(marks)]

    def _watch(self) -> None:
        """Name the ranks that others wait for, once nobody advances any more."""
        last = read_marks(self._folder)
        while not self._ended.wait(WATCH_SECONDS):
            with suppress(OSError):
                marks = read_marks(self._folder)
                if marks == last and (behind := self._behind()) and self._progress is not None:
                    waiting = {"waits_for": self._names(behind)}
                    self._channel.send(self._progress.model_copy(update=waiting))
                last = marks

    def _names(self, ranks: list[int]) -> str:
        numbers = ", ".join(str(self._first + rank) for rank in ranks)
        return f"rank{'s' * (len(ranks) > 1)} {numbers} on {socket.gethostname()}"

    # --- the launch -----------------------------------------------------------------------------

    def launch(self, configuration: LaunchConfig) -> int:
        """Start the ranks, wait for their end, and return 0, or 1 if one has failed."""
        command = ["-P", "-m", "cnnperf.training.worker", "--rank", str(self._folder)]
        try:
            elastic_launch(configuration, sys.executable)(*command)
        except ChildFailedError as error:
            rank, code = _first_failure(error)
            self._channel.send(self._failed(rank - self._first, code))
            return 1
        finally:
            self._ended.set()
        self._final.wait(LAST_WORDS_SECONDS)
        return 0

    def _failed(self, rank: int, code: int) -> Failed:
        """Return the failure of the rank that began it, from its own words if it left any."""
        behind = self._behind()
        deadline = time.monotonic() + LAST_WORDS_SECONDS
        while not self._failures and code > 0 and time.monotonic() < deadline:
            time.sleep(0.05)
        own = self._failures.get(rank)
        if own is None and code > 0:
            own = next(iter(self._failures.values()), None)
        rank = next((each for each, found in self._failures.items() if found is own), rank)
        if own is None:
            kind, message = _explain(code)
            return Failed(error=kind, message=f"{self._names([rank])}: {message}")
        message = own.message
        if behind and rank not in behind:  # it waited in vain for another
            message = f"{self._names(behind)} did not answer ({one_line(message, 120)})"
        else:
            message = f"{self._names([rank])}: {message}"
        return own.model_copy(update={"message": message})


def _first_failure(error: ChildFailedError) -> tuple[int, int]:
    """Return the rank that failed first, and its exit code.

    One that a signal has ended comes first: the others then fail because it is gone. SIGTERM is
    what torch ends the others with.
    """
    codes = {rank: failure.exitcode for rank, failure in error.failures.items()}
    killed = [rank for rank, code in codes.items() if code < 0 and code != -SIGTERM]
    rank = killed[0] if killed else error.get_first_failure()[0]
    return rank, codes.get(rank, 1)


def _explain(code: int) -> tuple[ErrorKind, str]:
    if code >= 0:
        return "exception", f"ended with exit code {code}, without a message"
    return "killed", f"killed by {Signals(-code).name}"
