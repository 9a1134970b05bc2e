"""The host: processor, memory, virtualization, and how busy it is.

Linux first; elsewhere what psutil and `platform` know, and None for the rest. The machine's own
files are read rather than tools run, so that this works in the smallest container.

    python -c "from cnnperf.machine.host import *; print(read_host(), read_host_state())"
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from cnnperf.machine.attempt import attempt, file_text
from cnnperf.record.environment import Hardware, HostState

RELEVANT_CPU_FLAGS = {
    "avx", "avx2", "f16c", "fma", "avx_vnni", "avx512f", "avx512bw", "avx512vl", "avx512_vnni",
    "avx512_bf16", "avx512_fp16", "avx10", "amx_tile", "amx_bf16", "amx_int8", "amx_fp16",
    "asimd", "asimdhp", "bf16", "i8mm", "sve", "sve2", "svebf16", "sme",
}  # fmt: skip
"""Extensions that oneDNN and its like choose kernels by; x86 above, Arm below."""

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


def read_host() -> Hardware:
    """The host's half of `Hardware`; its GPU fields are left None."""
    return Hardware(
        cpu_model=cpu_model(),
        cpu_physical_cores=attempt(psutil.cpu_count, logical=False),
        cpu_logical_cores=attempt(psutil.cpu_count, logical=True),
        cpu_flags=cpu_flags(),
        numa_nodes=numa_nodes(),
        memory_bytes=attempt(lambda: psutil.virtual_memory().total),
        virtualization=virtualization(),
    )


# Processor


def cpu_model() -> str | None:
    """The processor's name; Arm kernels do not tell it, `lscpu` often does."""
    return (
        cpuinfo_field("model name")
        or _output("sysctl", "-n", "machdep.cpu.brand_string")
        or _lscpu_model()
        or platform.processor()
        or platform.machine()
        or None
    )


def cpuinfo_field(name: str) -> str | None:
    """The first value of a field of /proc/cpuinfo; None off Linux."""
    found = re.search(rf"^{name}\s*:\s*(.+)$", file_text("/proc/cpuinfo") or "", re.MULTILINE)
    return found[1].strip() if found else None


def cpu_flags() -> tuple[str, ...] | None:
    """Vector and matrix extensions, sorted; None where the kernel does not list them."""
    flags = cpuinfo_field("flags") or cpuinfo_field("Features")
    return None if flags is None else tuple(sorted(RELEVANT_CPU_FLAGS.intersection(flags.split())))


def numa_nodes() -> int | None:
    """NUMA nodes that Linux lists; None elsewhere."""
    nodes = attempt(lambda: list(Path("/sys/devices/system/node").glob("node[0-9]*")))
    return len(nodes) if nodes else None


def cpu_affinity_cores() -> int | None:
    """Logical cores that this process may run on; None where the platform has no affinity."""
    if sys.platform != "linux":
        return None
    return attempt(lambda: len(os.sched_getaffinity(0)))


def _lscpu_model() -> str | None:
    """The model that `lscpu` knows, as in `Neoverse-V2`."""
    found = re.search(r"^Model name:\s*(.+)$", _output("lscpu") or "", re.MULTILINE)
    return found[1].strip() if found else None


def _output(*command: str) -> str | None:
    """What a command prints, stripped; None where it is missing, fails or prints nothing."""

    def run() -> str:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
        return done.stdout.strip()

    return attempt(run) or None


# Virtualization


def virtualization() -> str | None:
    """`docker`, `kvm`, or `docker on kvm`; None on bare metal, and where nothing can tell."""
    layers = [layer for layer in (_container(), _virtual_machine()) if layer]
    return " on ".join(layers) or None


def _container() -> str | None:
    """The container that this process is in, from systemd-detect-virt or from its traces."""
    said = _detect_virt("--container")
    if said is not None:
        return said
    for path, name in CONTAINER_FILES.items():
        if attempt(Path(path).exists):
            return name
    for variable, name in CONTAINER_VARIABLES.items():
        if variable in os.environ:
            return name
    return _named_in(CONTAINER_CGROUPS, file_text("/proc/1/cgroup"))


def _virtual_machine() -> str | None:
    """The hypervisor below: by name where it has one, else `vm` where the CPU betrays it."""
    said = _detect_virt("--vm")
    if said is not None:
        return said
    dmi = [file_text(f"/sys/class/dmi/id/{name}") or "" for name in ("sys_vendor", "product_name")]
    named = file_text("/sys/hypervisor/type") or _named_in(VM_VENDORS, " ".join(dmi))
    if named is None and "hypervisor" in (cpuinfo_field("flags") or "").split():
        return "vm"
    return named


def _detect_virt(kind: str) -> str | None:
    """The answer of systemd-detect-virt; it fails when its answer is `none`."""
    return _output("systemd-detect-virt", kind)


def _named_in(names: dict[str, str], text: str | None) -> str | None:
    """The name of the first word that a text contains, whatever its case."""
    lower = (text or "").lower()
    return next((name for word, name in names.items() if word in lower), None)


# Load


@dataclass(frozen=True, kw_only=True)
class CpuTimes:
    """Seconds of all cores together since boot."""

    busy_seconds: float
    """Neither idle nor waiting for a disk; time stolen by the hypervisor is busy."""
    total_seconds: float


def read_cpu_times() -> CpuTimes | None:
    """The machine's CPU time so far; Linux counts guests twice, so they are taken out."""

    def read() -> CpuTimes:
        times = psutil.cpu_times()._asdict()
        total = sum(times.values()) - times.get("guest", 0.0) - times.get("guest_nice", 0.0)
        idle = times["idle"] + times.get("iowait", 0.0)
        return CpuTimes(busy_seconds=total - idle, total_seconds=total)

    return attempt(read)


def busy_percent(before: CpuTimes | None, after: CpuTimes | None) -> float | None:
    """Share of all cores in use between two readings; None if the clock did not tick."""
    if before is None or after is None or after.total_seconds <= before.total_seconds:
        return None
    busy = after.busy_seconds - before.busy_seconds
    return min(100.0, max(0.0, 100 * busy / (after.total_seconds - before.total_seconds)))


def read_host_state(window_seconds: float = 0.2) -> HostState:
    """Load, clocks and free memory now; watches the cores for `window_seconds` first."""
    before = read_cpu_times()
    time.sleep(window_seconds)
    return HostState(
        load_average_1min=attempt(lambda: psutil.getloadavg()[0]),
        cpu_busy_percent=busy_percent(before, read_cpu_times()),
        cpu_governor=file_text(f"{CPU_ROOT}/scaling_governor"),
        cpu_frequency_driver=file_text(f"{CPU_ROOT}/scaling_driver"),
        cpu_frequency_mhz=attempt(lambda: psutil.cpu_freq().current),
        memory_available_bytes=attempt(lambda: psutil.virtual_memory().available),
    )
