"""Read the CPU quota of a process's control groups (cgroups), and how often it throttled.

A quota of 0.6 cores stops a process for the rest of every period (mostly 100 ms) in which it has
used 60 ms. Containers, Kubernetes limits, systemd and batch systems set quotas, and the load of the
machine does not show them. Each level from the process's own group upward may have one.

    python -c "from cnnperf.machine.cgroups import *; print(cpu_quota_cores(cpu_groups()))"
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from cnnperf.machine.host import file_text


class Throttling(NamedTuple):
    """Counters of one group's `cpu.stat`, or their difference between two moments."""

    periods: int
    throttled_periods: int
    throttled_seconds: float
    """Added up over the cores."""


def cpu_groups(pid: int | str = "self", root: Path = Path("/")) -> list[Path]:
    """Return the folders of a process's CPU groups (cgroup v1 and v2) that are visible here.

    Args:
        pid: the process.
        root: folder that holds `proc` and the mounted cgroups.
    """
    found: list[Path] = []
    paths = _lines(root / "proc" / str(pid) / "cgroup")
    for mount in _lines(root / "proc/self/mountinfo"):
        _, _, _, mounted, at, *rest = mount.split()  # proc(5)
        kind, options = rest[rest.index("-") + 1], rest[-1]
        if kind != "cgroup2" and not (kind == "cgroup" and "cpu" in options.split(",")):
            continue
        for line in paths:
            number, controllers, path = line.split(":", 2)
            is_version_2 = number == "0" and not controllers
            if is_version_2 if kind == "cgroup2" else "cpu" in controllers.split(","):
                found += _upward(root, path, mounted=mounted, at=at)
    return found


def _lines(path: Path) -> list[str]:
    return (file_text(str(path)) or "").splitlines()


def _upward(root: Path, path: str, *, mounted: str, at: str) -> Iterator[Path]:
    """Yield a group's folder and those above it, up to the group that is mounted."""
    group = PurePosixPath(path)
    inside = group.relative_to(mounted) if group.is_relative_to(mounted) else PurePosixPath()
    if ".." in inside.parts:  # the process is in a group that this namespace cannot see
        inside = PurePosixPath()
    for each in (inside, *inside.parents):
        if (folder := root / at.lstrip("/") / each).is_dir():
            yield folder


def cpu_quota_cores(groups: Iterable[Path]) -> float | None:
    """Return the smallest quota of some groups in cores; None if none has a quota."""
    return min(filter(None, map(_quota_cores, groups)), default=None)


def _quota_cores(group: Path) -> float | None:
    """Read `cpu.max` of version 2 or the `cpu.cfs_*` files of version 1; -1 and `max` are none."""
    text = file_text(f"{group}/cpu.max") or " ".join(
        file_text(f"{group}/cpu.cfs_{name}_us") or "" for name in ("quota", "period")
    )
    quota, _, period = text.partition(" ")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else None


def read_throttling(groups: Iterable[Path]) -> dict[Path, Throttling]:
    """Read the counters of each group that has them; they count from the group's creation."""
    found = {}
    for group in groups:
        pairs = (line.split() for line in _lines(group / "cpu.stat"))
        stat = {name: int(value) for name, value in pairs}
        if "nr_periods" in stat:
            seconds = stat.get("throttled_usec", 0) / 1e6 + stat.get("throttled_time", 0) / 1e9
            found[group] = Throttling(stat["nr_periods"], stat["nr_throttled"], seconds)
    return found


def throttling_between(
    before: dict[Path, Throttling], after: dict[Path, Throttling]
) -> Throttling | None:
    """Return the change of the group that throttled most; None if no quota was in force."""
    changes = (
        Throttling._make(new - old for old, new in zip(before[group], after[group], strict=True))
        for group in before.keys() & after.keys()
    )
    in_force = [change for change in changes if change.periods > 0]
    return max(in_force, key=lambda change: change.throttled_periods, default=None)
