"""A user's project in a folder of its own, in which real `pytest benchmarks` runs are made."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from cnnperf.record.loading import load_record
from cnnperf.record.schema import Record

ROOT = Path(__file__).parents[2]

INI = """
[pytest]
cnnperf_modules = tiny_cases
pythonpath = .
"""

WITHOUT_PEAK = """
from cnnperf.record import messages as protocol
from cnnperf.run import plan


def probe_job(**asked):
    return protocol.ProbeJob(**{**asked, "measure_peak": False})


plan.ProbeJob = probe_job
"""
"""Code for a process that looks at machines: the matmul peak takes seconds, few tests want it."""


class Project:
    """A folder with the tiny cases, the real benchmark module and an ini file.

    Args:
        folder: an empty one.
        ini: what stands in its pytest.ini.
        measures_peak: whether its runs look for the matmul peak, which takes seconds.
    """

    def __init__(self, folder: Path, ini: str = INI, *, measures_peak: bool = False) -> None:
        self.folder = folder
        for source in (ROOT / "tests" / "user_module").glob("*.py"):
            shutil.copy(source, folder)
        shutil.copytree(
            ROOT / "benchmarks", folder / "benchmarks", ignore=shutil.ignore_patterns("__pycache__")
        )
        (folder / "pytest.ini").write_text(ini)
        if not measures_peak:
            (folder / "conftest.py").write_text(WITHOUT_PEAK)
        self.started: list[subprocess.Popen[bytes]] = []

    @property
    def json_path(self) -> Path:
        """Where `run` has the record written."""
        return self.folder / "reports" / "run.json"

    def command(self, *arguments: str) -> list[str]:
        """The command line of a run with a record."""
        return [
            sys.executable, "-m", "pytest", "benchmarks", "-p", "no:cacheprovider",
            f"--benchmark-json={self.json_path}", "--cnnperf-device=cpu", *arguments,
        ]  # fmt: skip

    def environment(self, **variables: str) -> dict[str, str]:
        """This process's environment, with an empty data directory."""
        return {
            **os.environ,
            "CNNPERF_DATA_DIR": str(self.folder / "data"),
            "COLUMNS": "120",
            **variables,
        }

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run to the end; both outputs in `stdout`."""
        return subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment(**variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a run to be stopped; its output goes to `output.txt`."""
        with (self.folder / "output.txt").open("wb") as output:
            run = subprocess.Popen(
                self.command(*arguments),
                cwd=self.folder,
                env=self.environment(),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.started.append(run)
        return run

    def stop(self) -> None:
        """Kill what was started and goes on: its workers notice that it is gone."""
        for run in self.started:
            if run.poll() is None:
                run.kill()
                run.wait()

    @property
    def output(self) -> str:
        """What a started run has printed so far."""
        return (self.folder / "output.txt").read_text()

    def content(self) -> dict[str, Any]:
        """The whole file that pytest-benchmark wrote."""
        content: dict[str, Any] = json.loads(self.json_path.read_text())
        return content

    def record(self) -> Record:
        """The record in it."""
        return load_record(self.json_path)

    def journals(self) -> list[Path]:
        """Journals lying beside the record."""
        return sorted(self.json_path.parent.glob("*.journal.jsonl"))

    def workers(self) -> list[psutil.Process]:
        """Worker processes, and whatever they started, that belong to this folder."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.status() != psutil.STATUS_ZOMBIE and process.cwd() == str(self.folder):
                    command = " ".join(process.cmdline())
                    if "cnnperf.training.worker" in command or "cnnperf-orphan" in command:
                        found.append(process)
            except psutil.Error:
                continue
        return found


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 600) -> None:
    """Poll until something is so, or fail: what is waited for in vain is then named."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain until {what}"
        time.sleep(0.1)
