"""Read the versions of everything between the case and the GPU, without importing torch.

Most versions come from package metadata and from the text of torch's `version.py`. The worker adds
what only a loaded torch reports.

    python -c "from cnnperf.machine.software import *; print(read_software())"
"""

from __future__ import annotations

import ast
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

from cnnperf.machine import nvml
from cnnperf.machine.attempt import attempt
from cnnperf.record.environment import Software

PACKAGE_DIR = Path(__file__).parent.parent
"""The folder of the package cnnperf."""

PACKAGES = {
    "cudnn": ("nvidia-cudnn-cu13", "nvidia-cudnn-cu12"),
    "cublas": ("nvidia-cublas", "nvidia-cublas-cu12"),
    "nccl": ("nvidia-nccl-cu13", "nvidia-nccl-cu12"),
    "triton": ("triton", "pytorch-triton"),
    "torch": ("torch",),
    "torchvision": ("torchvision",),
    "pillow": ("pillow", "pillow-simd"),
    "numpy": ("numpy",),
    "scikit_learn": ("scikit-learn",),
    "lightning": ("lightning",),
    "accelerate": ("accelerate",),
    "timm": ("timm",),
    "cnnperf": ("cnnperf",),
}
"""Fields of `Software`, and the distributions that may provide each, the preferred one first."""


def read_software() -> Software:
    """Read every version that can be found; the others are None."""
    packages = {field: package_version(*names) for field, names in PACKAGES.items()}
    return Software(
        **(packages | _torch_versions()),
        driver=nvml.driver_version(),
        cuda_driver=nvml.cuda_driver_version(),
        python=platform.python_version(),
        os=_os_name(),
        kernel=platform.release() or None,
        glibc=_glibc_version(),
        cnnperf_commit=git_commit(PACKAGE_DIR) or _commit_from_environment(),
        cnnperf_dirty=git_dirty(PACKAGE_DIR),
    )


def package_version(*names: str) -> str | None:
    """Return the version of the first of these distributions that is installed."""
    versions = (attempt(importlib.metadata.version, name) for name in names)
    return next(filter(None, versions), None)


def _os_name() -> str | None:
    """Return the name of the operating system, such as `Debian GNU/Linux 12 (bookworm)`."""
    pretty = attempt(lambda: platform.freedesktop_os_release()["PRETTY_NAME"])
    return pretty or attempt(platform.platform) or None


def _glibc_version() -> str | None:
    """Return the version of glibc, such as `2.36`; None with another C library."""
    if sys.platform != "linux":
        return None
    answer = attempt(lambda: os.confstr("CS_GNU_LIBC_VERSION")) or ""
    return answer.removeprefix("glibc ") or None


def _torch_versions() -> dict[str, str]:
    """Read torch's `version.py` as text: importing torch takes a second or more."""
    values = attempt(_constants_of_torch_version_file) or {}
    names = {"torch": "__version__", "torch_git": "git_version", "cuda_runtime": "cuda"}
    return {field: values[name] for field, name in names.items() if values.get(name)}


def _constants_of_torch_version_file() -> dict[str, str]:
    path = importlib.metadata.distribution("torch").locate_file("torch/version.py")
    constants: dict[str, str] = {}
    for node in ast.parse(Path(str(path)).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Constant):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            constants[ast.unparse(target)] = node.value.value  # type: ignore[assignment]
    return constants


def _commit_from_environment() -> str | None:
    """Return CNNPERF_COMMIT, set where a checkout is copied without its .git."""
    value = os.environ.get("CNNPERF_COMMIT", "")
    return value if re.fullmatch(r"[0-9a-f]{40}", value) else None


def git_commit(directory: Path) -> str | None:
    """Return the full hash of HEAD if git tracks files in this directory.

    An installed package may lie inside a checkout of another project (in its `.venv`). That
    project's commit is not the package's.
    """
    if not _git(directory, "ls-files", "--", "."):
        return None
    return _git(directory, "rev-parse", "--verify", "HEAD")


def git_dirty(directory: Path) -> bool | None:
    """Return whether any tracked file of the checkout differs from HEAD; None outside one."""
    if git_commit(directory) is None:
        return None
    changes = _git(directory, "status", "--porcelain", "--untracked-files=no")
    return None if changes is None else bool(changes)


def _git(directory: Path, *arguments: str) -> str | None:
    """Return git's output; None where it fails. Ignore the GIT_DIR that a git hook sets."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = attempt(
        subprocess.run,
        ["git", "-C", str(directory), *arguments],
        env=environ | {"GIT_OPTIONAL_LOCKS": "0"},
        capture_output=True,
        text=True,
        timeout=10,
        check=True,
    )
    return None if done is None else done.stdout.strip()
