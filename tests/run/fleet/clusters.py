"""Real Ray clusters on this machine, and fleet runs on them in processes of their own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

FAST_DEATHS = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_failure_threshold": 2,
}
"""Ray's settings by which a head notices within seconds that a node is gone."""

CASE = "modified_vgg-synthetic-28-onestep-eager"

QUICK = """
import sys
from cnnperf.cli import main
from cnnperf.run.fleet import cluster, driver

real = driver.probe_job
driver.probe_job = lambda *given, **options: real(*given, measure_peak=False, **options)
cluster.LOST_SECONDS = 5.0
driver.RETURN_SECONDS = 1.0
sys.argv[0] = "cnnperf"
sys.exit(main())
"""
"""`cnnperf` without the matmul peak, which takes seconds, and with less patience."""


class LocalCluster:
    """A head without CPUs, and nodes of one CPU each."""

    def __init__(self, *names: str) -> None:
        from ray.cluster_utils import Cluster

        # Nodes get this process's environment, in which a library of another test may have set it.
        os.environ.pop("OMP_NUM_THREADS", None)
        head = {"num_cpus": 0, "include_dashboard": False, "_system_config": FAST_DEATHS}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self._nodes: dict[str, Any] = {}
        for name in names:
            self.add(name, wait=False)
        self._cluster.wait_for_nodes()

    @property
    def address(self) -> str:
        """HOST:PORT of the head."""
        return str(self._cluster.address)

    def add(self, name: str, *, wait: bool = True, **variables: str) -> None:
        """Start a node with this name and these environment variables."""
        self._nodes[name] = self._cluster.add_node(
            wait=wait, num_cpus=1, node_name=name, include_log_monitor=False, env_vars=variables
        )

    def remove(self, name: str) -> None:
        """Stop a node in good order."""
        self._cluster.remove_node(self._nodes.pop(name))

    def kill(self, name: str) -> None:
        """Kill a node's raylet as a crash would."""
        os.kill(self._process(self._nodes.pop(name), "raylet"), signal.SIGKILL)

    def kill_head(self) -> None:
        """Kill what keeps the cluster together."""
        os.kill(self._process(self._cluster.head_node, "gcs_server"), signal.SIGKILL)

    def _process(self, node: Any, kind: str) -> int:
        return int(node.all_processes[kind][0].process.pid)

    def shut_down(self) -> None:
        """End every process."""
        self._cluster.shutdown()


class FleetCommand:
    """A `cnnperf fleet run` of the small case, in a process of its own."""

    def __init__(
        self,
        address: str,
        folder: Path,
        *arguments: str,
        cwd: Path | None = None,
        log: Path | None = None,
    ) -> None:
        self.folder = folder
        self.log = (log or folder.parent) / f"{folder.name}-{time.monotonic_ns()}.log"
        command = [
            sys.executable, "-c", QUICK, "fleet", "run", f"--address={address}", "-o", str(folder),
            "--tier=full", *(() if "-k" in arguments else ("-k", CASE)), *arguments,
        ]  # fmt: skip
        with self.log.open("w") as output:
            self.process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, cwd=cwd
            )

    @property
    def text(self) -> str:
        """What it has printed so far."""
        return self.log.read_text()

    def end(self) -> int:
        """Wait for its exit code."""
        return self.process.wait(timeout=300)

    def wait_for(self, what: Callable[[], object]) -> None:
        """Wait until something is so; it never is after the end of the command."""
        while not what():
            assert self.process.poll() is None, self.text
            time.sleep(0.05)

    def wait_for_repeats(self, count: int, device: str = "*") -> None:
        """Wait until so many trainings are in the journals."""
        self.wait_for(lambda: journaled(self.folder, device) >= count)


def journaled(folder: Path, device: str = "*") -> int:
    """The number of finished trainings in a folder's newest journals; a line cut off is none."""
    newest = {re.sub(r"-\d{8}-.*", "", p.name): p for p in sorted(folder.glob(f"{device}.jsonl"))}
    whole = (path.read_text().rpartition("\n")[0] for path in newest.values())
    return sum(text.count('"kind":"repeat"') for text in whole)
