"""CPU quotas: files as Linux lays them out, and a real group that throttles a real process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cnnperf.machine.cgroups import (
    Throttling,
    cpu_groups,
    cpu_quota_cores,
    read_throttling,
    throttling_between,
)
from cnnperf.machine.state import StateSampler
from tests.machine.helpers import cpu_group, linux_only

MOUNTS = {
    "v2": "30 23 0:26 {mounted} /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate",
    "v1": "33 31 0:30 {mounted} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct",
}
FOLDERS = {"v2": "sys/fs/cgroup", "v1": "sys/fs/cgroup/cpu,cpuacct"}
LINES = {"v2": "0::{path}", "v1": "9:memory:/other\n4:cpu,cpuacct:{path}\n0::/"}


def fake_machine(
    root: Path, version: str, path: str, quotas: dict[str, str], mounted: str = "/"
) -> Path:
    """A root folder with a process in `path` and groups that have these quotas, by folder."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(LINES[version].format(path=path) + "\n")
    mounts = "22 1 8:1 / / rw - ext4 /dev/sda rw\n" + MOUNTS[version].format(mounted=mounted)
    (root / "proc/self/mountinfo").write_text(mounts + "\n")
    for folder, quota in quotas.items():
        group = root / FOLDERS[version] / folder
        group.mkdir(parents=True, exist_ok=True)
        if version == "v2":
            (group / "cpu.max").write_text(quota + "\n")
        else:
            (group / "cpu.cfs_quota_us").write_text(quota.split()[0].replace("max", "-1") + "\n")
            (group / "cpu.cfs_period_us").write_text(quota.split()[1] + "\n")
    return root


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize(
    ("quotas", "cores"),
    [
        ({"a/b": "max 100000", "a": "max 100000"}, None),
        ({"a/b": "60000 100000", "a": "max 100000"}, 0.6),
        ({"a/b": "max 100000", "a": "150000 100000"}, 1.5),
        ({"a/b": "200000 100000", "a": "25000 50000", "": "max 100000"}, 0.5),
    ],
)
def test_the_smallest_quota_on_the_way_to_the_root_counts(
    tmp_path: Path, version: str, quotas: dict[str, str], cores: float | None
) -> None:
    """A pod's limit holds for its containers."""
    root = fake_machine(tmp_path, version, "/a/b", quotas)
    assert cpu_quota_cores(cpu_groups(root=root)) == cores


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize(
    ("path", "mounted"), [("/docker/abc", "/docker/abc"), ("/", "/"), ("/../../pod", "/")]
)
def test_a_container_has_the_quota_of_the_group_that_is_mounted(
    tmp_path: Path, version: str, path: str, mounted: str
) -> None:
    """Docker mounts the container's group as the root; a namespace hides what is above."""
    root = fake_machine(tmp_path, version, path, {"": "60000 100000"}, mounted)
    assert cpu_quota_cores(cpu_groups(root=root)) == 0.6


def test_without_cgroups_there_is_no_quota(tmp_path: Path) -> None:
    """As on macOS."""
    assert cpu_groups(root=tmp_path) == []
    assert cpu_quota_cores([tmp_path]) is None
    assert read_throttling([tmp_path]) == {}


def test_the_group_that_throttled_most_is_reported(tmp_path: Path) -> None:
    """In the units of both versions; a group without a quota counts no periods."""
    before, after = {}, {}
    for name, lines in {
        "v2": "usage_usec 9\nnr_periods 582\nnr_throttled 523\nthrottled_usec 2500000\n",
        "v1": "nr_periods 100\nnr_throttled 30\nthrottled_time 1500000000\n",
        "no quota": "nr_periods 0\nnr_throttled 0\nthrottled_usec 0\n",
        "no controller": "usage_usec 9\n",
    }.items():
        group = tmp_path / name
        group.mkdir()
        (group / "cpu.stat").write_text(lines)
        after |= read_throttling([group])
        before[group] = Throttling(0, 0, 0.0)
    assert after[tmp_path / "v1"] == (100, 30, 1.5)
    assert throttling_between(before, after) == (582, 523, 2.5)
    assert throttling_between(after, after) is None
    del after[tmp_path / "v2"]
    assert throttling_between(before, after) == (100, 30, 1.5)


@linux_only
def test_a_process_in_a_real_group_is_seen_to_be_throttled() -> None:
    """Two busy threads get half a core; the sampler watches the process, not itself."""
    busy = "import threading\ndef f():\n while True: pass\nthreading.Thread(target=f).start(); f()"
    with cpu_group(0.5) as group, subprocess.Popen([sys.executable, "-c", busy]) as child:
        try:
            (group / "cgroup.procs").write_text(str(child.pid))
            assert cpu_quota_cores(cpu_groups(child.pid)) == 0.5
            with (
                StateSampler(None, worker_pid=child.pid) as sampler,
                pytest.raises(subprocess.TimeoutExpired),
            ):
                child.wait(timeout=1.5)
        finally:
            child.kill()
        child.wait()
        during = sampler.summary()
        assert during.cpu_periods is not None
        assert during.cpu_throttled_periods is not None
        assert 0 < during.cpu_throttled_periods <= during.cpu_periods
        assert during.cpu_throttled_seconds
