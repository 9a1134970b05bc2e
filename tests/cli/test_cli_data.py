"""`cnnperf data`: files that are there, missing, damaged or cannot be downloaded."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cnnperf.catalog.registry import all_datasets
from cnnperf.cli import commands as cli
from tests.commands import run_cnnperf, sentence_of
from tests.examples import (
    plain_terminal,
)


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    plain_terminal(monkeypatch)


TINY = """
from cnnperf import DatasetSpec, register_dataset
from cnnperf.catalog.specs import DataFile

register_dataset(DatasetSpec(
    name="tiny", loader="tiny:load", files=(DataFile(path="tiny.bin", md5="{md5}"),),
    channels=1, resolution=8, train_images=8, val_images=8, test_images=8, mean=(0.5,),
    std=(0.5,), source="a test",
))
"""


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A data set of a user's module, with its file in its place."""
    md5 = hashlib.md5(b"pixels", usedforsecurity=False).hexdigest()
    (tmp_path / "tiny_data_9f3.py").write_text(TINY.format(md5=md5))
    (tmp_path / "tiny.bin").write_bytes(b"pixels")
    return tmp_path


def _check_tiny(folder: Path) -> subprocess.CompletedProcess[str]:
    options = ["--check", "--data-dir=.", "--module=tiny_data_9f3"]
    return run_cnnperf("data", "tiny", *options, cwd=folder)


def test_check_of_an_undamaged_data_set_succeeds(tiny: Path) -> None:
    """Its files and their folder are named."""
    done = _check_tiny(tiny)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"tiny: complete, 1 files in {tiny}\n"


@pytest.mark.parametrize(
    ("content", "fault"), [(None, "is missing"), (b"", "is damaged"), (b"pixelz", "is damaged")]
)
def test_check_of_a_missing_or_damaged_data_set_fails(
    tiny: Path, content: bytes | None, fault: str
) -> None:
    """With exit code 1, and what mends it: its source, since no command can get a user's own."""
    (tiny / "tiny.bin").unlink()
    if content is not None:
        (tiny / "tiny.bin").write_bytes(content)
    done = _check_tiny(tiny)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith(f"tiny: data set tiny: tiny.bin {fault}")
    assert done.stdout.endswith("it there (a test)\n" if content is None else "it (a test)\n")


def test_check_without_names_reports_each_data_set(tmp_path: Path) -> None:
    """Not only of the first that is missing; CNNPERF_DATA_DIR says where to look."""
    runner = CliRunner(env={"CNNPERF_DATA_DIR": str(tmp_path)})
    done = runner.invoke(cli.app, ["data", "--check"])
    assert done.exit_code == 1
    names = [line.split(":")[0] for line in done.stdout.splitlines()]
    assert names == [spec.name for spec in all_datasets()]
    assert done.stdout.count(str(tmp_path)) >= 2
    assert "digits: nothing to fetch" in done.stdout


def test_a_data_set_that_comes_with_a_package_needs_no_fetching(tmp_path: Path) -> None:
    """Neither checking nor fetching can fail."""
    for more in ([], ["--check"]):
        done = CliRunner().invoke(cli.app, ["data", "digits", f"--data-dir={tmp_path}", *more])
        assert done.exit_code == 0
        assert done.stdout.startswith("digits: nothing to fetch (")


@pytest.mark.parametrize("more", [[], ["--check"]])
def test_unknown_data_set_is_one_sentence(more: list[str]) -> None:
    """With the nearest that there is."""
    text = sentence_of(run_cnnperf("data", "minst", *more))
    assert "there is no data set 'minst' (did you mean 'mnist'?)" in text


def test_data_set_without_a_download_is_one_sentence(tiny: Path) -> None:
    """The process that downloads knows the user's module, and its sentence is passed on."""
    (tiny / "tiny.bin").unlink()
    done = run_cnnperf("data", "tiny", "--data-dir=.", "--module=tiny_data_9f3", cwd=tiny)
    assert "copy these files into" in sentence_of(done)
