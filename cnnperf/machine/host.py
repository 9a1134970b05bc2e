"""Read the host: processor, memory, virtualization, and load.

Linux first; elsewhere psutil and `platform` give what they can, and the rest is None. Files of the
system are read instead of running tools, so that this works in the smallest container.

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


def read_host() -> Hardware:
    """Return the host's part of `Hardware`; its GPU fields are None."""
    flags = _cpuinfo_field("flags") or _cpuinfo_field("Features")
    nodes = attempt(lambda: list(Path("/sys/devices/system/node").glob("node[0-9]*")))
    return Hardware(
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


def cpu_affinity_cores() -> int | None:
    """Return the number of logical cores that this process may run on; None outside Linux."""
    if sys.platform != "linux":
        return None
    return attempt(lambda: len(os.sched_getaffinity(0)))


def _output(*command: str) -> str | None:
    """Return a command's output; None where it is missing, fails or prints nothing."""
    done = attempt(subprocess.run, command, capture_output=True, text=True, timeout=10, check=True)
    return (done.stdout.strip() or None) if done else None


def virtualization() -> str | None:
    """Return `docker`, `kvm`, or `docker on kvm`; None on bare metal, and where unknown."""
    return " on ".join(filter(None, (_container(), _virtual_machine()))) or None


def _container() -> str | None:
    """Return the container of this process, from systemd-detect-virt or from its traces."""
    found = _detect_virt("--container")
    found = found or next((n for p, n in CONTAINER_FILES.items() if attempt(Path(p).exists)), None)
    found = found or next((n for v, n in CONTAINER_VARIABLES.items() if v in os.environ), None)
    return found or _named_in(CONTAINER_CGROUPS, file_text("/proc/1/cgroup"))


def _virtual_machine() -> str | None:
    """Return the hypervisor's name, or `vm` where only the CPU's flags show that there is one."""
    dmi = [file_text(f"/sys/class/dmi/id/{name}") or "" for name in ("sys_vendor", "product_name")]
    return (
        _detect_virt("--vm")
        or file_text("/sys/hypervisor/type")
        or _named_in(VM_VENDORS, " ".join(dmi))
        or ("vm" if "hypervisor" in (_cpuinfo_field("flags") or "").split() else None)
    )


def _detect_virt(kind: str) -> str | None:
    """Return the answer of systemd-detect-virt, which fails where the answer is `none`."""
    return _output("systemd-detect-virt", kind)


def _named_in(names: dict[str, str], text: str | None) -> str | None:
    """Return the name of the first word that a text contains, in any case."""
    lower = (text or "").lower()
    return next((name for word, name in names.items() if word in lower), None)


@dataclass(frozen=True, kw_only=True)
class CpuTimes:
    """Seconds of all cores together since boot."""

    busy_seconds: float
    """Neither idle nor waiting for a disk; time stolen by the hypervisor is busy."""
    total_seconds: float


def read_cpu_times() -> CpuTimes | None:
    """Return the machine's CPU time so far. Linux counts guests twice, so they are subtracted."""

    def read() -> CpuTimes:
        times = psutil.cpu_times()._asdict()
        total = sum(times.values()) - times.get("guest", 0.0) - times.get("guest_nice", 0.0)
        idle = times["idle"] + times.get("iowait", 0.0)
        return CpuTimes(busy_seconds=total - idle, total_seconds=total)

    return attempt(read)


def busy_percent(before: CpuTimes | None, after: CpuTimes | None) -> float | None:
    """Return the share of all cores used between two readings; None if no time passed."""
    if before is None or after is None or after.total_seconds <= before.total_seconds:
        return None
    busy = after.busy_seconds - before.busy_seconds
    return min(100.0, max(0.0, 100 * busy / (after.total_seconds - before.total_seconds)))


def read_host_state(window_seconds: float = 0.2) -> HostState:
    """Return load, clocks and free memory now, after watching the cores for `window_seconds`."""
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
