"""Conditions of tests, fresh interpreters, and lists of visible devices."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cnnperf.machine import inventory

ROOT = Path(__file__).parents[2]

needs_torch = pytest.mark.skipif(
    inventory.package_version("torch") is None, reason="torch is not installed"
)
needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="compares with Linux's own files")

VISIBLE_VALUES = [
    "", "0", "0,1", " 1, 2", "2,-1,0", "-1", "1,1", "1gpu2,2ampere", "+3,4", "a", "0,a,1", "0,,1",
    "GPU-aa,GPU-bb", "GPU-aa,GPU-aa", "GPU-aa,1", "MIG-aa", "GPU-aa,MIG-bb", "0,GPU-aa",
]  # fmt: skip


def run_python(code: str, **environ: str) -> str:
    """What a fresh interpreter prints for this code, with the project importable."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environ,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
