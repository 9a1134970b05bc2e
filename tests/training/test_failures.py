"""Exceptions in the worker become one line with the right kind; real ones, from real torch."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cnnperf.errors import UsageError
from cnnperf.training.worker.channel import failed_message, one_line
from tests.examples import hide_packages

torch = pytest.importorskip("torch", reason="training needs the extra `train`")


def raised_by(code: str) -> BaseException:
    """The exception that a piece of code raises."""
    try:
        exec(code, {"torch": torch})  # noqa: S102 - the code is in this file
    except BaseException as error:
        return error
    raise AssertionError(f"{code!r} raises nothing")


def raised_by_call(call: Callable[[], object]) -> BaseException:
    """The exception that a call raises."""
    with pytest.raises(BaseException) as caught:
        call()
    return caught.value


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("torch.empty(10**15)", "out_of_memory"),
        ("bytearray(10**15)", "out_of_memory"),
        ("raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2 GiB')",
         "out_of_memory"),
        ("torch.ones(2) @ torch.ones(3)", "exception"),
        ("raise SystemExit(3)", "exception"),
        ("raise KeyError", "exception"),
        ("1 / 0", "exception"),
    ],
)  # fmt: skip
def test_exception_decides_the_kind_of_failure(code: str, kind: str) -> None:
    """Out-of-memory errors are recognised, also if torch raises a plain RuntimeError."""
    message = failed_message(raised_by(code))
    assert message.error == kind
    assert message.message
    assert "\n" not in message.message
    assert message.traceback is not None


def test_usage_error_has_no_traceback() -> None:
    """A sentence for people needs no stack."""
    message = failed_message(UsageError("no such thing; do this"))
    assert message.message == "no such thing; do this"
    assert message.traceback is None


class Unlucky:
    """A data set that cannot be read."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        raise LookupError(f"no image {index}\nin the archive")


def test_error_in_a_loaders_worker_is_named_without_its_traceback() -> None:
    """Torch puts the worker's whole traceback before it; the record keeps that."""
    loader = torch.utils.data.DataLoader(Unlucky(), num_workers=1)
    message = failed_message(raised_by_call(lambda: list(loader)))
    assert message.message == "LookupError: no image 0 in the archive"
    assert "in __getitem__" in str(message.traceback)


def test_bus_error_of_a_loaders_worker_is_full_shared_memory() -> None:
    """Torch's own words for it, of a version that does not check for room."""
    error = RuntimeError(
        "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's"
        " workers are out of shared memory. Please try to raise your shared memory limit."
    )
    message = failed_message(error)
    assert message.error == "out_of_memory"
    assert "--shm-size" in message.message


def test_full_disk_of_a_data_set_is_not_shared_memory(tmp_path: Path) -> None:
    """The error names the file that found no room."""
    error = OSError(28, "No space left on device", str(tmp_path / "images.bin"))
    assert "images.bin" in failed_message(error).message
    assert "shm" not in failed_message(error).message


def test_long_messages_are_cut() -> None:
    """A table's line stays a line."""
    assert one_line("a\n b\t c") == "a b c"
    assert len(one_line("x" * 1000)) == 300
    assert one_line("") == ""


def run_check(tmp_path: Path, **modules: str) -> str:
    """What `check_torch` says where these modules have this content."""
    for name, content in modules.items():
        (tmp_path / f"{name}.py").write_text(content)
    code = (
        "from cnnperf.training.worker.channel import check_torch, failed_message\n"
        "try:\n    check_torch()\n"
        "except BaseException as error:\n    print(failed_message(error).message)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    return done.stdout.strip()


def test_mismatched_torch_and_torchvision_give_a_remedy(tmp_path: Path) -> None:
    """The error of a CPU-only torch beside a CUDA-built torchvision says what to install."""
    said = run_check(
        tmp_path,
        torch="",
        torchvision='raise RuntimeError("operator torchvision::nms does not exist")',
    )
    assert "different builds" in said
    assert "pip install torch torchvision" in said
    assert "\n" not in said


def test_a_missing_package_is_named_with_its_extra(tmp_path: Path) -> None:
    """One line says what to install."""
    said = run_check(tmp_path, torchvision='raise ModuleNotFoundError("no", name="torchvision")')
    assert said.startswith("training needs torchvision, which is not installed")
    assert "cnnperf[train]" in said


def test_missing_scikit_learn_is_named_although_nothing_imports_it(tmp_path: Path) -> None:
    """A probe looks for it, since digits are a file of it."""
    hidden = hide_packages("sklearn")
    said = run_check(tmp_path, sitecustomize=hidden, torch="", torchvision="")
    assert said.startswith("training needs sklearn, which is not installed")
