"""Download the files of a data set, once, before any run. Runs never download.

Files are downloaded into a temporary folder, checked there, and then moved to the data directory,
so that loaders never see an interrupted download.

    cnnperf data mnist
"""

from __future__ import annotations

import contextlib
import http.client
import signal
import tempfile
import urllib.error
from collections.abc import Callable, Iterator
from pathlib import Path

from torchvision import datasets as tv_datasets

from cnnperf.catalog.datasets import DataProblem, check_files
from cnnperf.catalog.registry import get_dataset
from cnnperf.catalog.specs import DatasetSpec
from cnnperf.errors import UsageError

WINDOW_SECONDS = 60.0
LEAST_BYTES_PER_SECOND = 10_000
"""A server that sends less than this in a window is given up: torchvision would wait for ever."""

_DOWNLOADS = {"mnist": tv_datasets.MNIST, "cifar10": tv_datasets.CIFAR10}
"""Torchvision's data sets; their folders have the layout of the data directory."""


def fetch(
    name: str,
    data_dir: str | Path,
    *,
    on_message: Callable[[str], None],
    window_seconds: float = WINDOW_SECONDS,
) -> None:
    """Check a data set's files in `data_dir` and download them if any is missing or damaged.

    It sets the process's alarm while it downloads, so it runs only in the main thread.

    Args:
        name: name of a registered data set.
        data_dir: the data directory, created if it does not exist.
        on_message: called with each line of progress.
        window_seconds: how long a server may send less than `LEAST_BYTES_PER_SECOND`.

    Raises:
        UsageError: the data set is not registered, has no known download, or the download failed.
    """
    spec, data_dir = get_dataset(name), Path(data_dir)
    if not spec.files:
        on_message(f"data set {name}: nothing to fetch ({spec.source})")
        return
    problem = check_files(spec, data_dir, checksum=True)
    if problem is not None:
        _download(spec, data_dir, problem, on_message, window_seconds)
    on_message(f"data set {name}: {len(spec.files)} files in {data_dir}, checksums as published")


def _download(
    spec: DatasetSpec,
    data_dir: Path,
    problem: DataProblem,
    on_message: Callable[[str], None],
    window_seconds: float,
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
            with _giving_up(Path(folder), window_seconds):
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
def _giving_up(folder: Path, window_seconds: float) -> Iterator[None]:
    """Raise `URLError` if a folder grows too slowly, at whatever the main thread waits for.

    A timeout of the socket would begin anew with each byte of a slow server.
    """
    least_bytes = LEAST_BYTES_PER_SECOND * window_seconds
    before_bytes = 0

    def look(*_: object) -> None:
        nonlocal before_bytes
        now_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        if now_bytes - before_bytes < least_bytes:
            raise urllib.error.URLError(
                f"less than {least_bytes / 1000:g} kB came in {window_seconds:g} seconds"
            )
        before_bytes = now_bytes

    handler = signal.signal(signal.SIGALRM, look)
    timer = signal.setitimer(signal.ITIMER_REAL, window_seconds, window_seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGALRM, handler)
