"""Gets the files of a data set from the network, once, before any run.

Files are downloaded into a folder of their own, checked there, and only then moved to where
loaders look: an interrupted download is never taken for data. Runs themselves never download.

    cnnperf data mnist
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from torchvision import datasets as tv_datasets

from cnnperf.catalog.datasets import DataProblem, check_files
from cnnperf.catalog.registry import get_dataset
from cnnperf.catalog.specs import DatasetSpec
from cnnperf.errors import UsageError

SILENCE_SECONDS = 60.0
"""A server that sends nothing for so long has failed; torchvision would wait for ever."""


@dataclass(frozen=True, kw_only=True)
class _Download:
    """How torchvision gets a data set."""

    run: Callable[[Path], object]
    """Downloads into a folder, as the data directory is laid out."""
    source: str
    """Where from, for people."""


_DOWNLOADS = {
    "mnist": _Download(
        run=lambda folder: tv_datasets.MNIST(folder, download=True),
        source=" or ".join(tv_datasets.MNIST.mirrors),
    ),
    "cifar10": _Download(
        run=lambda folder: tv_datasets.CIFAR10(folder, download=True),
        source=str(tv_datasets.CIFAR10.url),
    ),
}


def fetch(name: str, data_dir: str | Path, *, on_message: Callable[[str], None]) -> None:
    """Make sure that a data set's files are in `data_dir` and undamaged; download what is not.

    Args:
        name: of a registered data set.
        data_dir: made if it is not there.
        on_message: called with a line of progress, for people.

    Raises:
        UsageError: there is no such data set, no known way to download it, or no success.
    """
    spec, data_dir = get_dataset(name), Path(data_dir)
    if not spec.files:
        on_message(f"data set {name}: nothing to fetch ({spec.source})")
        return
    problem = check_files(spec, data_dir, checksum=True)
    if problem is not None:
        _download(spec, data_dir, problem, on_message)
    on_message(f"data set {name}: {len(spec.files)} files in {data_dir}, checksums as published")


def _download(
    spec: DatasetSpec, data_dir: Path, problem: DataProblem, on_message: Callable[[str], None]
) -> None:
    download = _DOWNLOADS.get(spec.name)
    if download is None:
        raise UsageError(
            f"data set {spec.name}: {problem.path.name} is {problem.kind} at {problem.path} and "
            f"cnnperf does not know where to download it; {_by_hand(spec, data_dir)} "
            f"({spec.source})"
        )
    on_message(f"data set {spec.name}: downloading from {download.source} to {data_dir}")
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        # Inside the data directory: moving a file is atomic only within a file system.
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=data_dir) as folder:
            with _silence_is_failure():
                download.run(Path(folder))
            _move_checked(spec, Path(folder), data_dir)
    # What torchvision lets through: RuntimeError for a wrong checksum or when every mirror
    # failed, OSError for the network and the disk, HTTPException for a broken connection.
    except (RuntimeError, OSError, http.client.HTTPException) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(
            f"data set {spec.name} could not be downloaded from {download.source} to "
            f"{problem.path.parent} ({reason}); try again where the network allows it, or "
            f"{_by_hand(spec, data_dir)}"
        ) from error


def _move_checked(spec: DatasetSpec, folder: Path, data_dir: Path) -> None:
    problem = check_files(spec, folder, checksum=True)
    if problem is not None:
        raise RuntimeError(f"the download's {problem.path.name} is {problem.kind}")
    for file in spec.files:
        target = data_dir / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        (folder / file.path).replace(target)


def _by_hand(spec: DatasetSpec, data_dir: Path) -> str:
    names = ", ".join(file.path for file in spec.files)
    return f"copy these files into {data_dir} by hand: {names}"


@contextlib.contextmanager
def _silence_is_failure() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SILENCE_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
