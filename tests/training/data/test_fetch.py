"""Downloads from a mirror on this machine, and errors without a network."""

from __future__ import annotations

import contextlib
import functools
import gzip
import http.server
import signal
import socketserver
import struct
import tarfile
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the torch half is tested where torch is installed")

import torchvision

from cnnperf.catalog.datasets import CIFAR10, DIGITS, MNIST, SYNTHETIC, check_files
from cnnperf.catalog.specs import DataFile, DatasetSpec
from cnnperf.errors import UsageError
from cnnperf.training.data import fetch as fetch_module
from cnnperf.training.data import load_mnist
from cnnperf.training.data.fetch import fetch
from tests.training.data.handmade import md5_of, no_network


def files_below(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Path]:
    """A folder; what is in it can be fetched from `served.url`."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        (folder / "url").write_text(f"http://127.0.0.1:{server.server_port}/")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield folder
        server.shutdown()
        thread.join()


@pytest.fixture
def mnist_mirror(
    tiny_mnist: DatasetSpec, tmp_path: Path, served: Path, monkeypatch: pytest.MonkeyPatch
) -> DatasetSpec:
    """The tiny MNIST, moved from its place to a mirror that torchvision downloads from."""
    resources = []
    for file in tiny_mnist.files:
        source = tmp_path / file.path
        archive = served / f"{source.name}.gz"
        archive.write_bytes(gzip.compress(source.read_bytes()))
        resources.append((archive.name, md5_of(archive)))
        source.unlink()
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [(served / "url").read_text()])
    monkeypatch.setattr(torchvision.datasets.MNIST, "resources", resources)
    monkeypatch.setattr(fetch_module, "get_dataset", lambda name: tiny_mnist)
    return tiny_mnist


def test_fetching_puts_every_file_in_its_place_and_says_so(
    mnist_mirror: DatasetSpec, tmp_path: Path
) -> None:
    """Only the files of the data set are left: no archives, no temporary folder."""
    data_dir = tmp_path / "new" / "data"
    messages: list[str] = []
    fetch("mnist", data_dir, on_message=messages.append)
    assert set(files_below(data_dir)) == {file.path for file in mnist_mirror.files}
    assert not list(data_dir.glob(".fetch-*"))
    assert check_files(mnist_mirror, data_dir, checksum=True) is None
    assert len(load_mnist(data_dir).train_labels_N) == 20
    assert f"downloading from {torchvision.datasets.MNIST.mirrors[0]} to" in messages[0]
    assert messages[-1] == f"data set mnist: 4 files in {data_dir}, checksums as published"


def test_fetching_replaces_a_damaged_file(mnist_mirror: DatasetSpec, tmp_path: Path) -> None:
    """Torchvision itself accepts any file with the right name."""
    for file in mnist_mirror.files:
        (tmp_path / file.path).write_bytes(b"damaged")
    fetch("mnist", tmp_path, on_message=lambda message: None)
    assert check_files(mnist_mirror, tmp_path, checksum=True) is None


def test_fetching_cifar10_unpacks_its_archive(
    tiny_cifar10: DatasetSpec, tmp_path: Path, served: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The archive itself is not kept: it is as large as the data."""
    archive = served / "cifar.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "cifar-10-batches-py", "cifar-10-batches-py")
    md5 = {Path(file.path).name: file.md5 for file in tiny_cifar10.files}
    theirs = torchvision.datasets.CIFAR10
    for name, value in {
        "url": (served / "url").read_text() + archive.name,
        "tgz_md5": md5_of(archive),
        "train_list": [[name, md5[name]] for name, _ in theirs.train_list],
        "test_list": [[name, md5[name]] for name, _ in theirs.test_list],
        "meta": {**theirs.meta, "md5": md5["batches.meta"]},
    }.items():
        monkeypatch.setattr(theirs, name, value)
    monkeypatch.setattr(fetch_module, "get_dataset", lambda name: tiny_cifar10)
    fetch("cifar10", tmp_path / "new", on_message=lambda message: None)
    assert set(files_below(tmp_path / "new")) == {file.path for file in tiny_cifar10.files}


def test_complete_data_set_is_not_downloaded_again(
    tiny_mnist: DatasetSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine without a network can check its data."""
    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    monkeypatch.setattr(fetch_module, "get_dataset", lambda name: tiny_mnist)
    messages: list[str] = []
    fetch("mnist", tmp_path, on_message=messages.append)
    assert messages == [f"data set mnist: 4 files in {tmp_path}, checksums as published"]


@pytest.mark.parametrize(
    ("spec", "host"),
    [(MNIST, "https://ossci-datasets.s3.amazonaws.com"), (CIFAR10, "https://www.cs.toronto.edu")],
    ids=["mnist", "cifar10"],
)
def test_without_a_network_the_message_says_what_to_copy_where(
    spec: DatasetSpec, host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sentence: what, where from, where to, why not, and what to do instead."""
    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    with pytest.raises(UsageError) as error:
        fetch(spec.name, tmp_path, on_message=lambda message: None)
    message = str(error.value)
    assert f"data set {spec.name} could not be downloaded from {host}" in message
    assert f"to {(tmp_path / spec.files[0].path).parent} (" in message
    assert "no network in tests" in message
    assert f"copy these files into {tmp_path} by hand: " in message
    assert all(file.path in message for file in spec.files)
    assert "\n" not in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("broken", ["archive", "content"])
def test_a_broken_download_leaves_nothing_behind(
    mnist_mirror: DatasetSpec,
    tmp_path: Path,
    served: Path,
    monkeypatch: pytest.MonkeyPatch,
    broken: str,
) -> None:
    """Neither an archive cut short nor an archive of something else gets into the data."""
    archive = served / "t10k-labels-idx1-ubyte.gz"
    if broken == "archive":
        archive.write_bytes(archive.read_bytes()[:-7])
    else:
        other = struct.pack(">HBBI", 0, 8, 1, 8) + bytes(8)
        archive.write_bytes(gzip.compress(other))
        resources = [(path.name, md5_of(path)) for path in sorted(served.glob("*.gz"))]
        monkeypatch.setattr(torchvision.datasets.MNIST, "resources", resources)
    with pytest.raises(UsageError, match="could not be downloaded"):
        fetch("mnist", tmp_path / "new", on_message=lambda message: None)
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.parametrize("dripping", ["head", "body", "nothing"])
def test_a_server_that_drips_is_given_up(
    tiny_mnist: DatasetSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dripping: str
) -> None:
    """Each byte would begin a timeout of the socket anew."""
    heads = {
        "head": b"HTTP/1.1 200 OK\r\nX: ",
        "body": b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n",
    }

    class Dripping(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):  # until the client has gone
                self.request.sendall(heads.get(dripping, b""))
                while not stopped.wait(0.02):
                    self.request.sendall(b"x" * (dripping in heads))

    stopped = threading.Event()
    (tmp_path / tiny_mnist.files[0].path).unlink()
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Dripping) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [url])
        monkeypatch.setattr(fetch_module, "get_dataset", lambda name: tiny_mnist)
        with pytest.raises(UsageError, match=r"less than 5 kB came in 0.5 seconds.*by hand"):
            fetch("mnist", tmp_path, on_message=lambda message: None, window_seconds=0.5)
        stopped.set()
        server.shutdown()
    assert signal.getitimer(signal.ITIMER_REAL)[1] == 0
    assert not list(tmp_path.glob(".fetch-*"))


def test_data_directory_that_cannot_be_created_gives_one_sentence(tmp_path: Path) -> None:
    """Here a file lies where the folder should be."""
    (tmp_path / "data").write_text("")
    with pytest.raises(UsageError, match=r"could not be downloaded from .*File exists"):
        fetch("mnist", tmp_path / "data", on_message=lambda message: None)


@pytest.mark.parametrize("spec", [DIGITS, SYNTHETIC], ids=lambda spec: spec.name)
def test_data_sets_without_files_have_nothing_to_fetch(spec: DatasetSpec, tmp_path: Path) -> None:
    """They say where they come from, and touch no disk."""
    messages: list[str] = []
    fetch(spec.name, tmp_path / "data", on_message=messages.append)
    assert messages == [f"data set {spec.name}: nothing to fetch ({spec.source})"]
    assert not (tmp_path / "data").exists()


def test_users_data_set_has_no_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says that cnnperf cannot download it, and which file is expected where."""
    files = (DataFile(path="shapes/all.npz", md5="0" * 32),)
    spec = MNIST.model_copy(update={"name": "shapes", "files": files, "source": "our own camera"})
    monkeypatch.setattr(fetch_module, "get_dataset", lambda name: spec)
    with pytest.raises(UsageError) as error:
        fetch("shapes", tmp_path, on_message=lambda message: None)
    assert str(error.value) == (
        f"data set shapes: all.npz is missing at {tmp_path / 'shapes/all.npz'}, and cnnperf "
        f"cannot download this data set; copy these files into {tmp_path} by hand: "
        "shapes/all.npz (our own camera)"
    )


def test_an_unknown_data_set_cannot_be_fetched(tmp_path: Path) -> None:
    """The message lists those that can."""
    with pytest.raises(UsageError, match=r"no data set 'mnits' .*'mnist'"):
        fetch("mnits", tmp_path, on_message=lambda message: None)
