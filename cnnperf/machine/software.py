"""Versions of everything between the case and the silicon.

Most come from package metadata and from the text of torch's `version.py`, so the torch-free half
can ask too. Only cuDNN as loaded, NCCL as linked and the build configuration need torch itself.

    python -c "from cnnperf.machine.software import *; print(read_software(with_torch=True))"
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from cnnperf.machine import nvml
from cnnperf.machine.attempt import attempt
from cnnperf.record.environment import Software

PACKAGE_DIR = Path(__file__).parent.parent
"""Where cnnperf itself lies."""


def read_software(*, with_torch: bool) -> Software:
    """Every version that can be found; torch is imported only where asked for."""
    found = _packages() | _system() | _torch_text() | _project()
    if with_torch:
        found |= {name: value for name, value in _torch_loaded().items() if value is not None}
    return Software.model_validate(found)


def package_version(*names: str) -> str | None:
    """The installed version of the first of these distributions that is installed."""
    versions = (attempt(importlib.metadata.version, name) for name in names)
    return next((version for version in versions if version), None)


def _packages() -> dict[str, object]:
    """Versions as installed; NVIDIA's packages carry the CUDA version in their names until 12."""
    return {
        "cudnn": package_version("nvidia-cudnn-cu13", "nvidia-cudnn-cu12"),
        "cublas": package_version("nvidia-cublas", "nvidia-cublas-cu12"),
        "nccl": package_version("nvidia-nccl-cu13", "nvidia-nccl-cu12"),
        "triton": package_version("triton", "pytorch-triton"),
        "torch": package_version("torch"),
        "torchvision": package_version("torchvision"),
        "pillow": package_version("pillow", "pillow-simd"),
        "numpy": package_version("numpy"),
        "scikit_learn": package_version("scikit-learn"),
        "lightning": package_version("lightning"),
        "accelerate": package_version("accelerate"),
        "timm": package_version("timm"),
        "cnnperf": package_version("cnnperf"),
    }


def _system() -> dict[str, object]:
    """Python, operating system and driver."""
    return {
        "python": platform.python_version(),
        "os": os_name(),
        "kernel": platform.release() or None,
        "glibc": glibc_version(),
        "driver": nvml.driver_version(),
        "cuda_driver": nvml.cuda_driver_version(),
    }


def os_name() -> str | None:
    """As in `Debian GNU/Linux 12 (bookworm)`."""
    pretty = attempt(lambda: platform.freedesktop_os_release()["PRETTY_NAME"])
    return pretty or attempt(platform.platform) or None


def glibc_version() -> str | None:
    """As in `2.36`; None off glibc."""
    if sys.platform != "linux":
        return None
    said = attempt(lambda: os.confstr("CS_GNU_LIBC_VERSION")) or ""
    return said.removeprefix("glibc ") or None


# torch


def _torch_text() -> dict[str, object]:
    """What torch's `version.py` assigns, read as text: importing torch takes a second or more."""
    values = attempt(_torch_version_file) or {}
    known = {"torch": "__version__", "torch_git": "git_version", "cuda_runtime": "cuda"}
    return {field: values[name] for field, name in known.items() if values.get(name)}


def _torch_version_file() -> dict[str, str | None]:
    """The constants that torch's `version.py` assigns, by name."""
    path = importlib.metadata.distribution("torch").locate_file("torch/version.py")
    constants: dict[str, str | None] = {}
    for node in ast.parse(Path(str(path)).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Constant):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            constants[ast.unparse(target)] = node.value.value  # type: ignore[assignment]
    return constants


def _torch_loaded() -> dict[str, object]:
    """What only a loaded torch knows; each None where this build lacks it."""
    torch: Any = attempt(lambda: importlib.import_module("torch"))
    if torch is None:
        return {}
    return {
        "torch": attempt(lambda: str(torch.__version__)),
        "torch_git": attempt(lambda: torch.version.git_version),
        "cuda_runtime": attempt(lambda: torch.version.cuda),
        "cudnn": attempt(lambda: cudnn_version(torch.backends.cudnn.version())),
        "nccl": attempt(lambda: ".".join(str(part) for part in torch.cuda.nccl.version())),
        "torch_build_config": attempt(lambda: _short_hash(torch.__config__.show())),
    }


def cudnn_version(number: int) -> str:
    """Words for cuDNN's number: 92600 is `9.26.0`; before 9 the major counted thousands."""
    major, rest = divmod(number, 10_000 if number >= 90_000 else 1_000)
    return f"{major}.{rest // 100}.{rest % 100}"


def _short_hash(text: str) -> str:
    """First 16 hex digits of the SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


# The project


def _project() -> dict[str, object]:
    """The commit that cnnperf runs from, and whether tracked files differ from it."""
    commit = git_commit(PACKAGE_DIR) or _told_commit()
    return {"cnnperf_commit": commit, "cnnperf_dirty": git_dirty(PACKAGE_DIR)}


def _told_commit() -> str | None:
    """What CNNPERF_COMMIT says, where a checkout was copied without its .git."""
    said = os.environ.get("CNNPERF_COMMIT", "")
    return said if re.fullmatch(r"[0-9a-f]{40}", said) else None


def git_commit(directory: Path) -> str | None:
    """Full hash of HEAD, if git tracks something in this directory.

    An installed package may lie inside a checkout of something else (a `.venv`): not its commit.
    """
    if not _git(directory, "ls-files", "--", "."):
        return None
    return _git(directory, "rev-parse", "--verify", "HEAD")


def git_dirty(directory: Path) -> bool | None:
    """Whether any tracked file of the checkout differs from HEAD; None outside a checkout."""
    if git_commit(directory) is None:
        return None
    changes = _git(directory, "status", "--porcelain", "--untracked-files=no")
    return None if changes is None else bool(changes)


def _git(directory: Path, *arguments: str) -> str | None:
    """What git prints, asked about `directory` whatever a hook's GIT_DIR says; None if it fails."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}

    def run() -> str:
        done = subprocess.run(
            ["git", "-C", str(directory), *arguments],
            env=environ | {"GIT_OPTIONAL_LOCKS": "0"},
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
        return done.stdout.strip()

    return attempt(run)
