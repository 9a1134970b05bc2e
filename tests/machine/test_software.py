"""Versions and commits, against the interpreter, torch and git."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cnnperf.machine import inventory
from cnnperf.machine.inventory import git_state, read_software
from tests.machine.helpers import needs_git, needs_torch, run_python


def test_versions_are_those_of_this_interpreter() -> None:
    """Against sys, platform and the modules themselves."""
    seen = read_software()
    assert seen.python == sys.version.split()[0]
    assert seen.kernel == platform.release()
    if platform.libc_ver()[0] == "glibc":
        assert seen.glibc == platform.libc_ver()[1]
    if seen.numpy is not None:
        assert seen.numpy == run_python("import numpy; print(numpy.__version__, end='')")


@needs_torch
def test_torch_versions_are_those_of_the_module(torch_report: dict[str, Any]) -> None:
    """Torch's version.py as text holds what the imported module reports, except its build."""
    seen = read_software()
    assert [seen.torch, seen.torch_git, seen.cuda_runtime] == torch_report["version"]
    assert seen.torch_build_config is None


def git(directory: Path, *arguments: str) -> str:
    """Run git in a directory."""
    identity = ["-c", "user.name=Tester", "-c", "user.email=tester@example.org"]
    command = ["git", *identity, "-C", str(directory), *arguments]
    return subprocess.check_output(command, text=True, stderr=subprocess.STDOUT).strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A git checkout with a package in it, one commit old."""
    package = tmp_path / "package"
    package.mkdir()
    (package / "module.py").write_text("x = 1\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    return package


@needs_git
def test_commit_and_dirty_flag_are_those_of_the_checkout(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only changed tracked files make it dirty; the GIT_DIR of a hook is ignored."""
    monkeypatch.setattr(inventory, "PACKAGE_DIR", checkout)
    head = git(checkout, "rev-parse", "HEAD")
    (checkout / "untracked.py").write_text("")
    monkeypatch.setenv("GIT_DIR", "/nonexistent")
    assert git_state(checkout) == (head, False)
    (checkout / "module.py").write_text("x = 2\n")
    seen = read_software()
    assert (seen.cnnperf_commit, seen.cnnperf_dirty) == (head, True)


@needs_git
def test_an_installed_package_has_no_commit(checkout: Path, tmp_path: Path) -> None:
    """Outside any checkout, and untracked inside the checkout of another project."""
    installed = checkout.parent / ".venv" / "cnnperf"
    installed.mkdir(parents=True)
    (installed / "module.py").write_text("")
    assert git_state(installed) == (None, None)
    assert git_state(Path("/")) == (None, None)


@pytest.mark.parametrize(("value", "commit"), [("a" * 40, "a" * 40), ("main", None)])
def test_without_a_checkout_the_commit_is_that_of_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, commit: str | None
) -> None:
    """CNNPERF_COMMIT counts only as a full hash."""
    monkeypatch.setattr(inventory, "PACKAGE_DIR", tmp_path)
    monkeypatch.setenv("CNNPERF_COMMIT", value)
    assert read_software().cnnperf_commit == commit
