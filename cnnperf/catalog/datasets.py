"""The built-in data sets, and the check of their files.

Files are checked before anything is timed: a missing file must not stop a run after an hour, and a
damaged file must not look like a slightly worse accuracy. `cnnperf.training.data` reads the files.

    cnnperf data mnist        # fetch or check one data set
"""

from __future__ import annotations

import functools
import hashlib
import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cnnperf.catalog.specs import DataFile, DatasetSpec

MNIST = DatasetSpec(
    name="mnist",
    loader="cnnperf.training.data.sources:load_mnist",
    # MD5 of the unpacked files; torchvision (mnist.py, `resources`) has those of the archives.
    files=(
        DataFile(path="MNIST/raw/train-images-idx3-ubyte", md5="6bbc9ace898e44ae57da46a324031adb"),
        DataFile(path="MNIST/raw/train-labels-idx1-ubyte", md5="a25bea736e30d166cdddb491f175f624"),
        DataFile(path="MNIST/raw/t10k-images-idx3-ubyte", md5="2646ac647ad5339dbf082846283269ea"),
        DataFile(path="MNIST/raw/t10k-labels-idx1-ubyte", md5="27ae3e4e09519cfbb04c329615203637"),
    ),
    channels=1,
    resolution=28,
    train_images=48_000,
    val_images=12_000,
    test_images=10_000,
    # The usual values (pytorch/examples, mnist/main.py), over all pixels of all 60,000 training
    # images; tests/training/data/test_sources.py computes them.
    mean=(0.1307,),
    std=(0.3081,),
    target_accuracy=0.99,
    source="LeCun, Cortes, Burges: the MNIST database, http://yann.lecun.com/exdb/mnist/",
    downloadable=True,
)

CIFAR10 = DatasetSpec(
    name="cifar10",
    loader="cnnperf.training.data.sources:load_cifar10",
    # MD5 from torchvision's cifar.py, `train_list`, `test_list` and `meta`.
    files=tuple(
        DataFile(path=f"cifar-10-batches-py/{name}", md5=md5)
        for name, md5 in (
            ("data_batch_1", "c99cafc152244af753f735de768cd75f"),
            ("data_batch_2", "d4bba439e000b95fd0a9bffe97cbabec"),
            ("data_batch_3", "54ebc095f3ab1f0389bbae665268c751"),
            ("data_batch_4", "634d18415352ddfa80567beed471001a"),
            ("data_batch_5", "482c414d41f54cd18b22e5b47cb7c3cb"),
            ("test_batch", "40351d587109b95175f43aff81a1287e"),
            ("batches.meta", "5ff9c542aee3614f3951f8cda6e48888"),
        )
    ),
    channels=3,
    resolution=32,
    train_images=40_000,
    val_images=10_000,
    test_images=10_000,
    # Over all pixels of all 50,000 training images (tests/training/data/test_sources.py computes
    # them). The 0.2023, 0.1994, 0.2010 of many scripts are means of each image's own deviation.
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2470, 0.2435, 0.2616),
    source="Krizhevsky: CIFAR-10, https://www.cs.toronto.edu/~kriz/cifar.html",
    downloadable=True,
)

DIGITS = DatasetSpec(
    name="digits",
    loader="cnnperf.training.data.digits:load_digits",
    channels=1,
    resolution=8,
    train_images=1_150,
    val_images=287,
    test_images=360,
    # Over the 1,437 images that are not for testing; computed again in test_sources.py.
    mean=(0.3058,),
    std=(0.3761,),
    target_accuracy=0.97,
    source="Alpaydin, Kaynak: optical recognition of handwritten digits, as in scikit-learn",
)

SYNTHETIC = DatasetSpec(
    name="synthetic",
    loader="cnnperf.training.data.sources:load_synthetic",
    channels=1,
    resolution=28,
    train_images=4_096,
    val_images=512,
    test_images=512,
    # A uniform distribution over 0..255 has 1/2 and sqrt((256**2 - 1) / 12) / 255.
    mean=(0.5,),
    std=(0.2898,),
    learnable=False,
    source="seeded noise, made when it is loaded",
)

BUILTIN_DATASETS: tuple[DatasetSpec, ...] = (MNIST, CIFAR10, DIGITS, SYNTHETIC)


@dataclass(frozen=True, kw_only=True)
class DataProblem:
    """Why a data set cannot be used."""

    kind: Literal["missing", "damaged"]
    path: Path
    """The file that was expected."""
    message: str
    """One sentence: the file, its expected place, and the command that fetches it."""


def default_data_dir() -> Path:
    """Return `$CNNPERF_DATA_DIR`, else a folder in the user's cache."""
    chosen = os.environ.get("CNNPERF_DATA_DIR")
    return Path(chosen or "~/.cache/cnnperf/data").expanduser()


def check_files(spec: DatasetSpec, data_dir: Path, *, checksum: bool) -> DataProblem | None:
    """Return the first problem with the files of a data set, or None.

    Args:
        spec: the data set.
        data_dir: the folder that its paths are relative to.
        checksum: also read every file and compare its MD5 (a third of a second for MNIST and
            CIFAR-10 together, once cached); otherwise only missing and empty files are found.
    """
    problems = (_check_file(spec, data_dir, file, checksum=checksum) for file in spec.files)
    return next((problem for problem in problems if problem is not None), None)


def fetch_command(name: str, data_dir: Path) -> str:
    """Return the shell command that fetches a data set."""
    return f"cnnperf data {name} --data-dir {shlex.quote(str(data_dir))}"


def _check_file(
    spec: DatasetSpec, data_dir: Path, file: DataFile, *, checksum: bool
) -> DataProblem | None:
    path = data_dir / file.path
    kind: Literal["missing", "damaged"]
    if not path.is_file():
        kind, found, fix = "missing", f"missing, expected at {path}", "get it"
    elif (fault := _find_fault(path, file.md5 if checksum else None)) is not None:
        kind, found, fix = "damaged", f"damaged at {path} ({fault})", "replace it"
    else:
        return None
    if spec.downloadable:
        advice = f"{fix} with `{fetch_command(spec.name, data_dir)}`"
    else:
        advice = f"{'put it there' if kind == 'missing' else fix} ({spec.source})"
    message = f"data set {spec.name}: {path.name} is {found}; {advice}"
    return DataProblem(kind=kind, path=path, message=message)


def _find_fault(path: Path, md5: str | None) -> str | None:
    """Describe in a few words what is wrong with an existing file."""
    try:
        if path.stat().st_size == 0:
            return "the file is empty"
        if md5 is None:
            return None
        with path.open("rb") as stream:
            # usedforsecurity=False: machines in FIPS mode refuse MD5 otherwise
            digest = functools.partial(hashlib.md5, usedforsecurity=False)
            found = hashlib.file_digest(stream, digest).hexdigest()
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None if found == md5 else f"its MD5 is {found}, expected {md5}"
