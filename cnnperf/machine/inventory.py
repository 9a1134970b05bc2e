"""Collect what stays the same during a run: hardware, software, and the settings of this process.

Torch is not imported: most versions come from package metadata and from the text of torch's
`version.py`. The worker adds what only a loaded torch reports
(`cnnperf.training.worker.torch_environment`).

    python -c "from cnnperf.machine.inventory import *; print(collect_environment(device='cpu'))"
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

from cnnperf.machine import nvml
from cnnperf.machine.cgroups import cpu_groups, cpu_quota_cores
from cnnperf.machine.host import attempt, file_text, read_host
from cnnperf.machine.variables import read_variables
from cnnperf.record.environment import Environment, Hardware, Settings, Software

ALLOCATOR_VARIABLES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")
"""The configuration of torch's caching allocator, under its new name and its old one."""


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


def collect_environment(*, device: str, gpu_uuid: str | None = None) -> Environment:
    """Collect hardware, software and settings; what cannot be read is None.

    Args:
        device: what the run trains on, as torch spells it: `cpu`, `cuda`, `cuda:1`, `mps`.
        gpu_uuid: UUID of the run's GPU, where torch has started CUDA and so reports it.
    """
    number = device.partition(":")[2]
    return Environment(
        hardware=read_hardware(int(number) if number.isdigit() else 0, gpu_uuid),
        software=read_software(),
        settings=read_settings(device=device),
    )


def read_hardware(ordinal: int = 0, gpu_uuid: str | None = None) -> Hardware:
    """Read the host, and the GPU of this UUID or else the one that CUDA counts as `ordinal`."""
    handle = nvml.open_gpu(gpu_uuid) if gpu_uuid else nvml.visible_gpu_handle(ordinal)
    gpu = None if handle is None else nvml.read_gpu(handle)
    count = nvml.count_gpus() if nvml.is_available() else None
    return read_host().model_copy(update={"gpu": gpu, "gpu_count": count})


def read_settings(*, device: str) -> Settings:
    """Read the settings that need no torch: environment variables, limits and tracers."""
    allocator = (os.environ.get(name) for name in ALLOCATOR_VARIABLES)
    return Settings(
        device=device,
        allocator_config=next(filter(None, allocator), None),
        malloc_tunables=os.environ.get("GLIBC_TUNABLES") or None,
        visible_devices=nvml.hide_uuids(os.environ.get("CUDA_VISIBLE_DEVICES")),
        cpu_affinity_cores=attempt(lambda: len(os.sched_getaffinity(0))),
        cpu_quota_cores=attempt(lambda: cpu_quota_cores(cpu_groups())),
        variables=read_variables(),
        tracers=active_tracers(),
    )


def active_tracers() -> tuple[str, ...] | None:
    """Name what watches this process: functions for tracing, and a debugger outside, if any."""
    hooks = [each for each in (sys.gettrace(), sys.getprofile()) if each is not None]
    found = [getattr(each, "__module__", None) or type(each).__module__ for each in hooks]
    if sys.version_info >= (3, 12):
        found += filter(None, map(sys.monitoring.get_tool, range(6)))
    outside = re.search(r"^TracerPid:\s*([1-9]\d*)$", file_text("/proc/self/status") or "", re.M)
    if outside:
        found.append(file_text(f"/proc/{outside[1]}/comm") or "a debugger")
    return tuple(sorted({*found})) or None


def read_software() -> Software:
    """Read every version that can be found; the others are None."""
    packages = {field: package_version(*names) for field, names in PACKAGES.items()}
    driver, cuda_driver = nvml.driver_versions()
    commit, dirty = git_state(PACKAGE_DIR)
    copied = os.environ.get("CNNPERF_COMMIT", "")  # set where a checkout is copied without its .git
    return Software(
        **(packages | (attempt(_torch_versions) or {})),
        driver=driver,
        cuda_driver=cuda_driver,
        python=platform.python_version(),
        os=attempt(lambda: platform.freedesktop_os_release()["PRETTY_NAME"])
        or attempt(platform.platform),
        kernel=platform.release() or None,
        glibc=attempt(lambda: (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")[2]) or None,
        cnnperf_commit=commit or (copied if re.fullmatch(r"[0-9a-f]{40}", copied) else None),
        cnnperf_dirty=dirty,
    )


def package_version(*names: str) -> str | None:
    """Return the version of the first of these distributions that is installed."""
    versions = (attempt(importlib.metadata.version, name) for name in names)
    return next(filter(None, versions), None)


def _torch_versions() -> dict[str, str]:
    """Read torch's `version.py` as text: importing torch takes a second or more."""
    path = importlib.metadata.distribution("torch").locate_file("torch/version.py")
    text = Path(str(path)).read_text(encoding="utf-8")
    found = re.findall(r"(?m)^(__version__|git_version|cuda)\b[^=\n]*= *['\"](.+)['\"]", text)
    fields = {"__version__": "torch", "git_version": "torch_git", "cuda": "cuda_runtime"}
    return {fields[name]: value for name, value in found}


def git_state(directory: Path) -> tuple[str | None, bool | None]:
    """Return HEAD's full hash and whether tracked files differ from it; None if git tracks no file.

    An installed package may lie inside a checkout of another project (in its `.venv`). That
    project's commit is not the package's.
    """
    tracked = _git(directory, "ls-files", "--", ".")
    commit = _git(directory, "rev-parse", "--verify", "HEAD") if tracked else None
    if commit is None:
        return None, None
    changes = _git(directory, "status", "--porcelain", "--untracked-files=no")
    return commit, None if changes is None else bool(changes)


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
