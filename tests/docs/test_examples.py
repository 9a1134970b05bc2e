"""The projects in docs/examples run as they stand."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cnnperf.record.loading import load_record
from tests.pytest_plugin.project import WITHOUT_PEAK

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


def run(folder: Path, *command: str) -> str:
    """Run a command of an example, which must succeed."""
    ended = subprocess.run(
        [sys.executable, *command],
        cwd=folder, env={**os.environ, "COLUMNS": "140"}, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout
    return ended.stdout


def copied(name: str, folder: Path) -> Path:
    """A copy of an example, which may be written to; it does without the matmul peak."""
    copy = Path(shutil.copytree(EXAMPLES / name, folder / name))
    (copy / "conftest.py").write_text(WITHOUT_PEAK)
    return copy


def test_a_project_of_toml_alone(tmp_path: Path) -> None:
    """It learns shapes that differ plainly, and both engines see the same images."""
    pytest.importorskip("timm", reason="timm is in the extra `peers`")
    folder = copied("shapes", tmp_path)
    run(folder, "make_images.py")
    shown = json.loads(run(folder, "-m", "cnnperf.cli", "list", "--json"))
    assert [case["id"] for case in shown] == [
        "timm/resnet10t-shapes-32-cosine-eager",
        "timm/resnet10t-shapes-32-cosine-fast",
    ]
    run(folder, "-m", "pytest", "benchmarks", "--benchmark-json=base.json", "--cnnperf-device=cpu")
    record = load_record(folder / "base.json")
    assert [case.outcome for case in record.cases] == ["passed", "passed"]
    assert min(case.median("test_accuracy") or 0 for case in record.cases) > 0.8
    assert len({case.repeats[0].dataset_sha256 for case in record.cases}) == 1


def test_a_script_of_ones_own(tmp_path: Path) -> None:
    """It runs alone; marked, its quality is judged: one that hardly learns is worse."""
    folder = copied("denoise", tmp_path)
    assert run(folder, "train.py", "--epochs", "1").startswith("PSNR ")
    bench = ("-m", "pytest", "benchmarks", "--cnnperf-device=cpu")
    output = run(folder, *bench, "--benchmark-json=base.json")
    assert "test_psnr" in output
    assert " dB" in output
    script = (folder / "train.py").read_text()
    worse = script.replace("lr=3e-3", "lr=1e-5")
    (folder / "train.py").write_text(worse)
    assert worse != script
    run(folder, *bench, "--benchmark-json=new.json")
    compared = subprocess.run(
        [sys.executable, "-m", "cnnperf.cli", "compare", "base.json", "new.json", "--format=json"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert compared.returncode == 1, compared.stderr
    (case,) = json.loads(compared.stdout)["cases"]
    found = case["metrics"]["test_psnr"]
    assert (found["verdict"], found["reason"]) == (
        "worse",
        "1 of 1 trainings below its floor of 12 dB",
    )
