"""`cnnperf init`: files to start from, which work as they are and are never overwritten."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from cnnperf.run.project import ConfigFile, config_schema


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a module of this interpreter in a folder."""
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, capture_output=True, text=True, check=False
    )


def test_the_files_work_as_they_are(tmp_path: Path) -> None:
    """What init writes is listed and collected without a change, and only that."""
    pytest.importorskip("torch", reason="training needs the extra `train`")
    done = run(tmp_path, "cnnperf.cli", "init")
    assert done.returncode == 0, done.stderr
    ids = {
        "torchvision/resnet18-digits-32-cosine-eager", "torchvision/resnet18-digits-32-cosine-fast",
    }  # fmt: skip
    listed = run(tmp_path, "cnnperf.cli", "list", "--json")
    assert {row["id"] for row in json.loads(listed.stdout)} == ids
    collected = run(tmp_path, "pytest", "benchmarks", "--collect-only", "-q")
    assert {line.split("[")[1].rstrip("]") for line in collected.stdout.splitlines() if "[" in line
            } == ids  # fmt: skip


def test_no_file_is_overwritten(tmp_path: Path) -> None:
    """One that is there stays, and nothing else is written."""
    (tmp_path / "cnnperf.toml").write_text("# mine\n")
    done = run(tmp_path, "cnnperf.cli", "init")
    assert done.returncode == 2
    assert "there is cnnperf.toml already" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["cnnperf.toml"]
    assert (tmp_path / "cnnperf.toml").read_text() == "# mine\n"


def test_settings_of_pytest_stay(tmp_path: Path) -> None:
    """A project that has some is told which line to add."""
    (tmp_path / "pyproject.toml").write_text("")
    done = run(tmp_path, "cnnperf.cli", "init")
    assert "add cnnperf_builtin_cases = false to pytest's settings in pyproject.toml" in done.stdout
    assert not (tmp_path / "pytest.ini").exists()


def test_the_schema_describes_the_file_that_init_writes(tmp_path: Path) -> None:
    """Every key of it, with a text for people; the schema is what the model accepts."""
    run(tmp_path, "cnnperf.cli", "init")
    content = tomllib.loads((tmp_path / "cnnperf.toml").read_text())
    ConfigFile.model_validate(content)
    printed = json.loads(run(tmp_path, "cnnperf.cli", "schema", "--config").stdout)
    assert printed == config_schema()
    assert set(content) < set(printed["properties"])
    recipe = printed["$defs"]["RecipeTable"]["properties"]
    assert "labels" in recipe["loss"]["description"]
    assert set(content["recipes"]["cosine"]) < set(recipe)
