"""The part of a fleet run that is executed on a node: describe it, hold a device, train there.

Ray calls these functions in processes of the node. Jobs and results pass as JSON text, so that
nothing depends on how Ray carries objects.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict

from cnnperf.catalog.datasets import check_files
from cnnperf.catalog.engines import missing_package
from cnnperf.catalog.specs import DatasetSpec, Engine
from cnnperf.errors import UsageError
from cnnperf.machine import nvml
from cnnperf.machine.host import attempt
from cnnperf.machine.inventory import PACKAGE_DIR, read_software
from cnnperf.machine.variables import KNOWN
from cnnperf.record.environment import Hardware, Software
from cnnperf.record.journal import holder, lock
from cnnperf.record.messages import ProbeJob, ProbeResult, TrainJob
from cnnperf.record.numerics import NumericsTraining
from cnnperf.record.schema import CaseError, Repeat
from cnnperf.run.numerics import TRAININGS, numerics_of, short_job
from cnnperf.run.repeat import RepeatRun
from cnnperf.run.session import missing_packages
from cnnperf.run.worker_process import WorkerError, probe

VISIBLE = "CUDA_VISIBLE_DEVICES"

HOLD_SECONDS = 60.0
"""How long a device may still be held by a run that was killed: the kernel frees it as soon as
Ray has ended its processes."""

PROBE_SECONDS = 600.0
"""Time limit of a probe without --timeout: a device that hangs must not hold up the fleet."""

LOCKS = Path(tempfile.gettempdir()) / "cnnperf-fleet"
"""Folder of the locks of a machine's devices; every user of the machine shares it."""


class NodeModel(BaseModel):
    """Base of what a node and the fleet run tell each other."""

    model_config = ConfigDict(frozen=True)


class Card(NodeModel):
    """One GPU, or one MIG slice of it."""

    visible: str
    """UUID, or an index where NVML gives none, for `CUDA_VISIBLE_DEVICES`."""
    label: str
    """Such as `gpu3` or `gpu3-mig0`."""


class NodeFacts(NodeModel):
    """What a fleet run knows of a node before it trains."""

    software: Software
    code_sha256: str
    """Hash of cnnperf's own source files: a version or a commit does not tell local changes."""
    missing: tuple[str, ...] = ()
    """Packages that training lacks."""
    cards: tuple[Card, ...] = ()


class DataRequest(NodeModel):
    """What the cases of a fleet run need on each node."""

    data_dir: str
    datasets: tuple[DatasetSpec, ...]
    engines: tuple[Engine, ...]


class DataFound(NodeModel):
    """The answer to a `DataRequest`."""

    problem: str | None = None
    """One sentence."""
    digests: dict[str, str] = {}
    """Hash of the files of each data set that has files of the user's."""


class Begun(NodeModel):
    """The answer of an agent that takes a device."""

    problem: str | None = None
    probed: ProbeResult | None = None


class Trained(NodeModel):
    """The answer of an agent to one training: a repeat or an error."""

    repeat: Repeat | None = None
    numerics: tuple[NumericsTraining, ...] = ()
    error: CaseError | None = None


# --- looking --------------------------------------------------------------------------------------


def look(gpus_of_ray: int) -> str:
    """Describe this node as `NodeFacts`; Ray's number of GPUs counts where NVML is missing."""
    return NodeFacts(
        software=read_software(),
        code_sha256=code_sha256(),
        missing=tuple(missing_packages()),
        cards=tuple(find_cards(_environ_of_ray().get(VISIBLE), gpus_of_ray)),
    ).model_dump_json()


def code_sha256() -> str:
    """Return a hash of the package's source files."""
    found = hashlib.sha256()
    for path in sorted(PACKAGE_DIR.rglob("*.py")):
        found.update(f"{path.relative_to(PACKAGE_DIR)}\0".encode() + path.read_bytes())
    return found.hexdigest()


def find_cards(visible: str | None, gpus_of_ray: int = 0) -> Iterator[Card]:
    """Yield the GPUs of this node that its `CUDA_VISIBLE_DEVICES` shows; MIG slices one by one."""
    entries = nvml.parse_visible_devices(visible)
    if not nvml.count_gpus():
        shown = range(gpus_of_ray) if entries is None else entries
        yield from (Card(visible=str(each), label=f"gpu{n}") for n, each in enumerate(shown))
        return
    boards = entries if entries is not None else list(range(nvml.count_gpus()))
    for entry in boards:
        gpu = nvml.open_gpu(entry)
        if gpu is None:
            continue
        slices = [] if gpu.is_mig else list(nvml.mig_slices(gpu))
        for position, piece in enumerate(slices or [gpu]):
            label = f"gpu{nvml.index_of(piece)}"
            label += f"-mig{position}" if slices else ""
            yield Card(visible=nvml.uuid_of(piece) or str(entry), label=label)


def find_data(request: str) -> str:
    """Check the data sets and packages of a `DataRequest`; return `DataFound`."""
    asked = DataRequest.model_validate_json(request)
    data_dir = Path(asked.data_dir)
    problems = [missing_package(engine) for engine in asked.engines]
    digests = {}
    for spec in asked.datasets:
        found = check_files(spec, data_dir, checksum=True)
        problems.append(None if found is None else found.message)
        try:
            digests[spec.name] = files_sha256(spec)
        except OSError as error:
            problems.append(f"data set {spec.name}: {error.filename}: {error.strerror}")
    problem = next(filter(None, problems), None)
    return DataFound(
        problem=problem, digests={name: each for name, each in digests.items() if each}
    ).model_dump_json()


def files_sha256(spec: DatasetSpec) -> str | None:
    """Hash a user's file of arrays, or the names and sizes in a folder of images; else None.

    Raises:
        OSError: they are not there.
    """
    folder, file = spec.arguments.get("folder"), spec.arguments.get("file")
    if isinstance(file, str):
        with Path(file).open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    if not isinstance(folder, str):
        return None
    root = Path(folder)
    root.stat()
    lines = [f"{path.relative_to(root)}\t{path.stat().st_size}\n" for path in root.rglob("*.*")]
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


# --- training -------------------------------------------------------------------------------------


class Agent:
    """Holds one device of a node and trains on it, in a process of its own.

    Args:
        visible: the GPU, for `CUDA_VISIBLE_DEVICES`; None leaves the environment as it is.
    """

    def __init__(self, visible: str | None) -> None:
        undo_ray()
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
        if visible is not None:
            os.environ[VISIBLE] = visible

    def begin(self, device: str, job: str, timeout_seconds: float | None) -> str:
        """Take the device, so that no other fleet run trains on it, and probe it: `Begun`."""
        found: ProbeResult | None = None
        problem = self._hold(device)
        if problem is None:
            try:
                found = probe(
                    ProbeJob.model_validate_json(job),
                    timeout_seconds=timeout_seconds or PROBE_SECONDS,
                )
            except UsageError as error:
                problem = str(error)
        return Begun(problem=problem, probed=found).model_dump_json()

    def _hold(self, device: str) -> str | None:
        """Lock the device until this process ends; return who holds it instead."""
        path = LOCKS / f"{device}.lock"
        with contextlib.suppress(OSError):  # another user's folder or file
            LOCKS.mkdir(exist_ok=True)
            LOCKS.chmod(0o1777)
        with contextlib.suppress(OSError):
            path.touch(exist_ok=False)
            path.chmod(0o666)
        try:
            self._lock = path.open("rb")
        except OSError as error:
            return f"{path} cannot be opened: {error.strerror}; remove it on {socket.gethostname()}"
        deadline = time.monotonic() + HOLD_SECONDS
        while not lock(self._lock.fileno()):
            if time.monotonic() > deadline:
                return (
                    f"in use by another fleet run ({holder(self._lock.fileno())} there): wait "
                    "until that run has ended, or stop it"
                )
            time.sleep(0.2)
        return None

    def train(self, job: str, hardware: str, timeout_seconds: float | None) -> str:
        """Train one repeat, after the check of numerics if the job asks for it: `Trained`."""
        repeat = TrainJob.model_validate_json(job)
        short = [short_job(repeat)] * TRAININGS if repeat.check_numerics else []
        machine = Hardware.model_validate_json(hardware)
        found = []
        try:
            for each in (*short, repeat):
                with RepeatRun(each, timeout_seconds=timeout_seconds, hardware=machine) as run:
                    run.prepare()
                    run.train()
                    found.append(run.finish())
        except WorkerError as error:
            return Trained(error=error.as_case_error()).model_dump_json()
        numerics = tuple(map(numerics_of, found[:-1]))
        return Trained(repeat=found[-1], numerics=numerics).model_dump_json()


def _end_with(parent: int) -> None:
    """End this process, and with it its training, when Ray's own process of the node is gone.

    Ray lets it finish first: the device would stay taken, for a result that nobody gets.
    """
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def undo_ray() -> None:
    """Undo what Ray changes for its processes and what changes speed: a user would not have it.

    Ray sets OMP_NUM_THREADS to 1, hides GPUs, and lowers the priority of its processes by 15.
    Raising it again needs rights that a user may lack.
    """
    own = _environ_of_ray()
    for name in list(os.environ):
        if KNOWN.fullmatch(name) and name not in own:
            del os.environ[name]
    if VISIBLE in own:
        os.environ[VISIBLE] = own[VISIBLE]
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, psutil.Process(os.getppid()).nice())


def _environ_of_ray() -> dict[str, str]:
    """Return the environment in which the user started Ray on this node: that of our parent."""
    return attempt(lambda: psutil.Process(os.getppid()).environ()) or {}
