"""Read the host: processor, memory, virtualization, and load.

Linux first; elsewhere psutil and `platform` give what they can, and the rest is None. Files of the
system are read instead of running tools, so that this works in the smallest container.

Every value goes through `attempt`: a missing file, tool, driver or permission must never stop a
benchmark.

    python -c "from cnnperf.machine.host import *; print(read_host(), read_host_state())"
"""

from __future__ import annotations

import os
import platform
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import psutil

from cnnperf.record.environment import Hardware, HostState

P = ParamSpec("P")
T = TypeVar("T")

RELEVANT_CPU_FLAGS = {
    "avx", "avx2", "f16c", "fma", "avx_vnni", "avx512f", "avx512bw", "avx512vl", "avx512_vnni",
    "avx512_bf16", "avx512_fp16", "avx10", "amx_tile", "amx_bf16", "amx_int8", "amx_fp16",
    "asimd", "asimdhp", "bf16", "i8mm", "sve", "sve2", "svebf16", "sme",
}  # fmt: skip
"""Extensions by which oneDNN and similar libraries choose kernels; x86 above, Arm below."""

CPU_ROOT = "/sys/devices/system/cpu/cpu0/cpufreq"

CONTAINER_FILES = {"/.dockerenv": "docker", "/run/.containerenv": "podman"}

CONTAINER_VARIABLES = {
    "KUBERNETES_SERVICE_HOST": "kubernetes",
    "APPTAINER_CONTAINER": "apptainer",
    "SINGULARITY_CONTAINER": "singularity",
}

CONTAINER_CGROUPS = {"kubepods": "kubernetes", "docker": "docker", "containerd": "containerd",
                     "libpod": "podman", "lxc": "lxc"}  # fmt: skip
"""Words in the cgroup paths of process 1 (cgroup v1; v2 hides them)."""

VM_VENDORS = {"qemu": "kvm", "kvm": "kvm", "amazon ec2": "amazon", "google": "google",
              "vmware": "vmware", "virtual machine": "microsoft", "innotek": "oracle",
              "xen": "xen", "openstack": "kvm"}  # fmt: skip
"""Words in the DMI vendor and product, with systemd-detect-virt's names for them."""


def attempt(read: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
    """Return what `read` returns for these arguments, or None where it raises any exception."""
    try:
        return read(*args, **kwargs)
    except Exception:
        return None


def file_text(path: str) -> str | None:
    """Return the stripped text of a file, or None where it cannot be read or is empty."""
    text = attempt(lambda: Path(path).read_text(encoding="utf-8", errors="replace").strip())
    return text or None


def read_host() -> Hardware:
    """Return the host's part of `Hardware`; its GPU fields are None."""
    flags = _cpuinfo_field("flags") or _cpuinfo_field("Features")
    nodes = attempt(lambda: list(Path("/sys/devices/system/node").glob("node[0-9]*")))
    return Hardware(
        host=platform.node() or None,
        cpu_model=_cpu_model(),
        cpu_physical_cores=attempt(psutil.cpu_count, logical=False),
        cpu_logical_cores=attempt(psutil.cpu_count, logical=True),
        cpu_flags=tuple(sorted(RELEVANT_CPU_FLAGS & {*flags.split()})) if flags else None,
        numa_nodes=len(nodes) if nodes else None,
        memory_bytes=attempt(lambda: psutil.virtual_memory().total),
        virtualization=virtualization(),
    )


def _cpu_model() -> str | None:
    """Return the processor's name. Arm kernels do not report it, but `lscpu` often does."""
    lscpu = re.search(r"^Model name:\s*(.+)$", _output("lscpu") or "", re.MULTILINE)
    return (
        _cpuinfo_field("model name")
        or _output("sysctl", "-n", "machdep.cpu.brand_string")
        or (lscpu[1].strip() if lscpu else None)
        or platform.processor()
        or platform.machine()
        or None
    )


def _cpuinfo_field(name: str) -> str | None:
    """Return the first value of a field of /proc/cpuinfo; None outside Linux."""
    found = re.search(rf"^{name}\s*:\s*(.+)$", file_text("/proc/cpuinfo") or "", re.MULTILINE)
    return found[1].strip() if found else None


def _output(*command: str) -> str | None:
    """Return a command's output; None where it is missing, fails or prints nothing."""
    done = attempt(subprocess.run, command, capture_output=True, text=True, timeout=10, check=True)
    return (done.stdout.strip() or None) if done else None


def virtualization() -> str | None:
    """Return `docker`, `kvm`, or `docker on kvm`; None on bare metal, and where unknown."""
    container = (
        _output("systemd-detect-virt", "--container")  # fails where the answer is `none`
        or next((n for p, n in CONTAINER_FILES.items() if attempt(Path(p).exists)), None)
        or next((n for v, n in CONTAINER_VARIABLES.items() if v in os.environ), None)
        or _named_in(CONTAINER_CGROUPS, "/proc/1/cgroup")
    )
    machine = (
        _output("systemd-detect-virt", "--vm")
        or file_text("/sys/hypervisor/type")
        or _named_in(VM_VENDORS, "/sys/class/dmi/id/sys_vendor", "/sys/class/dmi/id/product_name")
        or ("vm" if "hypervisor" in (_cpuinfo_field("flags") or "").split() else None)
    )
    return " on ".join(filter(None, (container, machine))) or None


def _named_in(names: dict[str, str], *paths: str) -> str | None:
    """Return the name of the first word that files contain, in any case."""
    text = " ".join(file_text(path) or "" for path in paths).lower()
    return next((name for word, name in names.items() if word in text), None)


def read_host_state(window_seconds: float = 0.2) -> HostState:
    """Return load, clocks and free memory now, after watching the cores for `window_seconds`."""
    return HostState(
        load_average_1min=attempt(lambda: psutil.getloadavg()[0]),
        cpu_busy_percent=attempt(psutil.cpu_percent, window_seconds),
        cpu_governor=file_text(f"{CPU_ROOT}/scaling_governor"),
        cpu_frequency_driver=file_text(f"{CPU_ROOT}/scaling_driver"),
        cpu_frequency_mhz=attempt(lambda: psutil.cpu_freq().current),
        memory_available_bytes=attempt(lambda: psutil.virtual_memory().available),
    )


def process_peak_bytes() -> int:
    """Return the peak resident memory of this process (RSS).

    VmHWM is better than `ru_maxrss`, which on Linux includes the parent's memory before `exec`.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
