"""Conditions of tests, fresh interpreters, and lists of visible devices."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def cpu_group(quota_cores: float | None = None) -> Iterator[Path]:
    """A new cgroup with a CPU quota, removed at the end; skip where none can be made."""
    name = f"cnnperf-test-{os.getpid()}"
    for parent in ("/sys/fs/cgroup/cpu", "/sys/fs/cgroup"):
        group = Path(parent, name)
        with contextlib.suppress(OSError):
            group.mkdir()
            break
    else:
        pytest.skip("no cgroup can be made here: that needs root and a writable /sys/fs/cgroup")
    try:
        if quota_cores is not None:
            set_quota(group, quota_cores)
        yield group
    finally:
        _remove_when_empty(group)


def _remove_when_empty(group: Path) -> None:
    """Wait for the last process in the group, which may be ending."""
    end_seconds = time.monotonic() + 10
    while group.exists() and time.monotonic() < end_seconds:
        with contextlib.suppress(OSError):
            group.rmdir()
        time.sleep(0.02)


def set_quota(group: Path, cores: float) -> None:
    """Limit a cgroup of either version to so many cores; skip where it has no CPU controller."""
    for file, text in (("cpu.cfs_quota_us", f"{cores * 1e5:.0f}"),
                       ("cpu.max", f"{cores * 1e5:.0f} 100000")):  # fmt: skip
        if (group / file).exists():
            (group / file).write_text(text)
            return
    pytest.skip("the CPU controller is not enabled for cgroups made here")
