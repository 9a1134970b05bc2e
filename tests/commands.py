"""The command `cnnperf` in a process of its own, and how it says what is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from cnnperf.report.terminal.console import EXIT_USAGE


def run_cnnperf(
    *arguments: str, cwd: Path | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "cnnperf.cli", *arguments],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )


def sentence_of(done: subprocess.CompletedProcess[str]) -> str:
    """The one line with which a command says what its user should mend."""
    assert done.returncode == EXIT_USAGE
    assert done.stderr.startswith("cnnperf: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    return done.stderr
