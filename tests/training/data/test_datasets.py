"""What the descriptions of data sets promise, and how missing or damaged files are reported."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from cnnperf.catalog.datasets import (
    BUILTIN_DATASETS,
    CIFAR10,
    DIGITS,
    MNIST,
    SYNTHETIC,
    check_files,
    default_data_dir,
    fetch_command,
)
from cnnperf.catalog.specs import DataFile, DatasetSpec

CONTENTS = {"tiny/images": b"some pixels", "tiny/labels": b"0123456789"}


@pytest.fixture
def tiny() -> DatasetSpec:
    """MNIST with two small files instead of its own."""
    files = tuple(
        DataFile(path=path, md5=hashlib.md5(content, usedforsecurity=False).hexdigest())
        for path, content in CONTENTS.items()
    )
    return MNIST.model_copy(update={"name": "tiny", "files": files})


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data directory that holds those files, undamaged."""
    for path, content in CONTENTS.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(content)
    return tmp_path


def test_importing_the_descriptions_loads_neither_torch_nor_numpy() -> None:
    """The half that collects and compares starts fast and works where no torch is."""
    code = (
        "import sys, cnnperf.catalog.datasets; "
        "print({'torch', 'torchvision', 'numpy', 'sklearn', 'PIL'} & set(sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "set()"


def test_four_data_sets_come_with_cnnperf_under_names_of_their_own() -> None:
    """Each is described once, and in the order in which people meet them."""
    assert [spec.name for spec in BUILTIN_DATASETS] == ["mnist", "cifar10", "digits", "synthetic"]


@pytest.mark.parametrize(
    ("spec", "images"),
    [
        (MNIST, (60_000, 10_000)),
        (CIFAR10, (50_000, 10_000)),
        (DIGITS, (1_437, 360)),
        (SYNTHETIC, (4_608, 512)),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_split_uses_every_published_image(spec: DatasetSpec, images: tuple[int, int]) -> None:
    """Train and validation together are the published training images; none is left out."""
    assert (spec.train_images + spec.val_images, spec.test_images) == images
    assert len(spec.mean) == len(spec.std) == spec.channels


def test_mnist_is_split_as_in_the_report() -> None:
    """48,000 images are 375 batches of 128."""
    assert (MNIST.train_images, MNIST.val_images) == (48_000, 12_000)
    assert MNIST.train_images / 128 == 375


def test_random_labels_are_marked_as_not_learnable() -> None:
    """Only the synthetic set has labels that mean nothing."""
    assert [spec.name for spec in BUILTIN_DATASETS if not spec.learnable] == ["synthetic"]


def test_the_data_directory_is_the_one_named_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`CNNPERF_DATA_DIR` wins, and its tilde is the home directory."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CNNPERF_DATA_DIR", "/elsewhere/data")
    assert default_data_dir() == Path("/elsewhere/data")
    monkeypatch.setenv("CNNPERF_DATA_DIR", "~/data")
    assert default_data_dir() == tmp_path / "data"


@pytest.mark.parametrize("value", [None, ""])
def test_default_data_directory_is_in_the_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str | None
) -> None:
    """An empty variable counts as absent: it must not mean the current directory."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("CNNPERF_DATA_DIR", raising=False)
    if value is not None:
        monkeypatch.setenv("CNNPERF_DATA_DIR", value)
    assert default_data_dir() == tmp_path / ".cache" / "cnnperf" / "data"


@pytest.mark.parametrize("checksum", [True, False])
def test_undamaged_files_are_no_problem(tiny: DatasetSpec, data_dir: Path, checksum: bool) -> None:
    """Everything in place: nothing to report."""
    assert check_files(tiny, data_dir, checksum=checksum) is None


@pytest.mark.parametrize("spec", [DIGITS, SYNTHETIC], ids=lambda spec: spec.name)
def test_data_sets_without_files_never_have_a_problem(spec: DatasetSpec, tmp_path: Path) -> None:
    """They need no data directory, so one that does not exist is fine."""
    assert check_files(spec, tmp_path / "nowhere", checksum=True) is None


@pytest.mark.parametrize("checksum", [True, False])
def test_a_missing_file_is_named_with_its_place_and_the_command_that_gets_it(
    tmp_path: Path, checksum: bool
) -> None:
    """The message is one sentence that a user can act on without reading anything else."""
    problem = check_files(MNIST, tmp_path, checksum=checksum)
    assert problem is not None
    path = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    assert (problem.kind, problem.path) == ("missing", path)
    assert problem.message == (
        f"data set mnist: train-images-idx3-ubyte is missing, expected at {path}; "
        f"get it with `cnnperf data mnist --data-dir {tmp_path}`"
    )


def test_the_first_problem_in_the_order_of_the_files_is_reported(
    tiny: DatasetSpec, data_dir: Path
) -> None:
    """The second file is looked at too, once the first is right."""
    (data_dir / "tiny/labels").unlink()
    problem = check_files(tiny, data_dir, checksum=True)
    assert problem is not None
    assert problem.path == data_dir / "tiny/labels"


def test_a_folder_in_the_place_of_a_file_is_a_missing_file(
    tiny: DatasetSpec, data_dir: Path
) -> None:
    """Existing is not enough: it must be a file."""
    (data_dir / "tiny/labels").unlink()
    (data_dir / "tiny/labels").mkdir()
    problem = check_files(tiny, data_dir, checksum=False)
    assert problem is not None
    assert problem.kind == "missing"


@pytest.mark.parametrize(
    "content", [b"some pixel", b"some pixels!", b"some pixelz"], ids=["cut", "longer", "changed"]
)
def test_a_damaged_file_is_noticed_by_its_checksum(
    tiny: DatasetSpec, data_dir: Path, content: bytes
) -> None:
    """The message shows the checksum that was found and the one that was expected."""
    path = data_dir / "tiny/images"
    path.write_bytes(content)
    assert check_files(tiny, data_dir, checksum=False) is None
    problem = check_files(tiny, data_dir, checksum=True)
    assert problem is not None
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    assert (problem.kind, problem.path) == ("damaged", path)
    assert problem.message == (
        f"data set tiny: images is damaged at {path} (its MD5 is {found}, expected "
        f"{tiny.files[0].md5}); replace it with `cnnperf data tiny --data-dir {data_dir}`"
    )


def test_an_empty_file_is_noticed_without_a_checksum(tiny: DatasetSpec, data_dir: Path) -> None:
    """A full disk leaves such files; looking at the size costs nothing."""
    (data_dir / "tiny/labels").write_bytes(b"")
    problem = check_files(tiny, data_dir, checksum=False)
    assert problem is not None
    assert problem.kind == "damaged"
    assert "the file is empty" in problem.message


def test_a_file_that_cannot_be_read_is_damaged_not_a_traceback(
    tiny: DatasetSpec, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of another user, say."""

    def refuse(self: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)
    problem = check_files(tiny, data_dir, checksum=True)
    assert problem is not None
    assert problem.kind == "damaged"
    assert "(cannot be read: Permission denied)" in problem.message


def test_the_command_can_be_pasted_into_a_shell() -> None:
    """A path with a space is quoted."""
    command = fetch_command("mnist", Path("/my data"))
    assert command == "cnnperf data mnist --data-dir '/my data'"
