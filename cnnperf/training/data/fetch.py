"""Download the files of a data set, once, before any run. Runs never download.

Files are downloaded into a temporary folder, checked there, and then moved to the data directory,
so that loaders never see an interrupted download.

    cnnperf data mnist
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from torchvision import datasets as tv_datasets

from cnnperf.catalog.datasets import DataProblem, check_files
from cnnperf.catalog.registry import get_dataset
from cnnperf.catalog.specs import DatasetSpec
from cnnperf.errors import UsageError

SILENCE_SECONDS = 60.0
"""Timeout for a silent server; torchvision has none."""


_DOWNLOADS = {"mnist": tv_datasets.MNIST, "cifar10": tv_datasets.CIFAR10}
"""Torchvision's data sets; their folders have the layout of the data directory."""


def fetch(name: str, data_dir: str | Path, *, on_message: Callable[[str], None]) -> None:
    """Check a data set's files in `data_dir` and download them if any is missing or damaged.

    Args:
        name: name of a registered data set.
        data_dir: the data directory, created if it does not exist.
        on_message: called with each line of progress.

    Raises:
        UsageError: the data set is not registered, has no known download, or the download failed.
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
    data_set = _DOWNLOADS.get(spec.name)
    if data_set is None:
        raise UsageError(
            f"data set {spec.name}: {problem.path.name} is {problem.kind} at {problem.path}, and "
            f"cnnperf cannot download this data set; {_by_hand(spec, data_dir)} ({spec.source})"
        )
    source = " or ".join(getattr(data_set, "mirrors", None) or [data_set.url])
    on_message(f"data set {spec.name}: downloading from {source} to {data_dir}")
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        # In the data directory, because a move is atomic only within one file system.
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=data_dir) as folder:
            with _timeout():
                data_set(folder, download=True)
            _move_checked(spec, Path(folder), data_dir)
    # Torchvision raises RuntimeError for a wrong checksum or if all mirrors fail, OSError for the
    # network and the disk, and HTTPException for a broken connection.
    except (RuntimeError, OSError, http.client.HTTPException) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(
            f"data set {spec.name} could not be downloaded from {source} to "
            f"{problem.path.parent} ({reason}); try again on a machine with network access, or "
            f"{_by_hand(spec, data_dir)}"
        ) from error


def _move_checked(spec: DatasetSpec, folder: Path, data_dir: Path) -> None:
    problem = check_files(spec, folder, checksum=True)
    if problem is not None:
        raise RuntimeError(f"the downloaded {problem.path.name} is {problem.kind}")
    for file in spec.files:
        target = data_dir / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        (folder / file.path).replace(target)


def _by_hand(spec: DatasetSpec, data_dir: Path) -> str:
    names = ", ".join(file.path for file in spec.files)
    return f"copy these files into {data_dir} by hand: {names}"


@contextlib.contextmanager
def _timeout() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SILENCE_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
