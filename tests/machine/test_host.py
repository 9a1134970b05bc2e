"""The host, against /proc, os, lscpu and systemd."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cnnperf.machine import host
from cnnperf.machine.host import read_host
from tests.machine.helpers import ROOT, linux_only


def printed(*command: str) -> str:
    """What a command prints, whatever its exit status."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def test_cores_and_memory_are_those_that_the_system_counts() -> None:
    """Against os.cpu_count and, on Linux, /proc/meminfo."""
    seen = read_host()
    assert seen.cpu_logical_cores == os.cpu_count()
    assert seen.cpu_model
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        kibibytes = int(re.search(r"MemTotal:\s+(\d+) kB", meminfo.read_text())[1])
        assert seen.memory_bytes == kibibytes * 1024


@linux_only
def test_cpu_flags_are_a_subset_of_what_the_kernel_lists() -> None:
    """Only those that kernels are chosen by, sorted; NUMA nodes as lscpu counts them."""
    listed = set(Path("/proc/cpuinfo").read_text().split())
    seen = read_host()
    assert list(seen.cpu_flags) == sorted(set(seen.cpu_flags) & listed & host.RELEVANT_CPU_FLAGS)
    if "avx2" in listed:
        assert "avx2" in seen.cpu_flags
    if shutil.which("lscpu"):
        counted = re.search(r"NUMA node\(s\):\s*(\d+)", printed("lscpu"))
        assert seen.numa_nodes == (int(counted[1]) if counted else None)


@linux_only
@pytest.mark.skipif(shutil.which("taskset") is None, reason="taskset is not installed")
def test_affinity_counts_the_cores_that_the_process_may_use() -> None:
    """Bound to one core it is 1, however many the machine has."""
    core = min(os.sched_getaffinity(0))
    code = "from cnnperf.machine.inventory import *; print(read_settings(device='cpu'))"
    command = ["taskset", "-c", str(core), sys.executable, "-c", code]
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    printed_settings = subprocess.check_output(command, env=environ, text=True)
    assert "cpu_affinity_cores=1 " in printed_settings


@pytest.mark.skipif(shutil.which("systemd-detect-virt") is None, reason="needs systemd-detect-virt")
def test_virtualization_is_what_systemd_says() -> None:
    """Container first, then virtual machine; None where it prints none."""
    kinds = [printed("systemd-detect-virt", kind) for kind in ("-c", "-v")]
    assert host.virtualization() == (" on ".join(k for k in kinds if k != "none") or None)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ({}, None),
        ({"/proc/1/cgroup": "12:cpu:/kubepods/besteffort/pod1"}, "kubernetes"),
        ({"/sys/hypervisor/type": "xen"}, "xen"),
        ({"/sys/class/dmi/id/sys_vendor": "QEMU"}, "kvm"),
        ({"/proc/cpuinfo": "flags\t\t: fpu hypervisor"}, "vm"),
        ({"/proc/1/cgroup": "1:cpu:/docker/1", "/sys/class/dmi/id/sys_vendor": "QEMU"},
         "docker on kvm"),
    ],
)  # fmt: skip
def test_without_systemd_virtualization_is_read_from_its_traces(
    monkeypatch: pytest.MonkeyPatch, texts: dict[str, str], expected: str | None
) -> None:
    """Control groups show a container, DMI and the CPU a virtual machine."""
    monkeypatch.setattr(host, "_output", lambda *command: None)
    monkeypatch.setattr(host, "file_text", texts.get)
    monkeypatch.setattr(host, "CONTAINER_FILES", {})
    monkeypatch.setattr(host, "CONTAINER_VARIABLES", {})
    assert host.virtualization() == expected
