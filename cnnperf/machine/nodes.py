"""The nodes that train together, as Slurm or torchrun describes them to each.

    srun --nodes=2 --ntasks-per-node=1 pytest benchmarks/test_scaling.py --cnnperf-devices=1,8,16
    torchrun --nnodes=2 --node-rank=$N --master-addr=HOST -m pytest benchmarks/test_scaling.py

The same command runs on each node and plans the same trainings; a training on several nodes starts
when all have reached it. Only the first node trains what needs one node, and each writes a record.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from cnnperf.errors import UsageError

SLURM_PORT = 29500
"""torch's usual port; jobs that share a node differ in the last three digits of their number."""

LAUNCHED = re.compile(r"(TORCHELASTIC|LOCAL|GROUP|ROLE|MASTER)_\w+|RANK|WORLD_SIZE")
"""Variables of torch's launcher, which make other libraries look for a group of processes."""


@dataclass(frozen=True, kw_only=True)
class Nodes:
    """How many nodes train together, and which one this is."""

    count: int = 1
    rank: int = 0
    endpoint: str = "localhost:0"
    """Host and port where they meet: on the first node. Port 0 is any that is free."""

    def of(self, devices: int | None) -> Nodes:
        """Return the nodes of a case: fewer devices than nodes are all on the first one."""
        return self if devices is not None and devices >= self.count else Nodes(rank=self.rank)


def find_nodes(environment: Mapping[str, str] | None = None) -> Nodes:
    """Return the nodes that the environment describes; one if it describes none.

    Raises:
        UsageError: more than one process was started on a node, or a variable is missing.
    """
    found = os.environ if environment is None else environment
    try:
        return _find(found)
    except (KeyError, ValueError) as error:
        raise UsageError(
            f"the environment describes several nodes, but not completely ({error}): start pytest "
            "with srun or torchrun, or unset GROUP_WORLD_SIZE"
        ) from None


def _find(found: Mapping[str, str]) -> Nodes:
    if "GROUP_WORLD_SIZE" in found:
        _check_one_each(found, "LOCAL_WORLD_SIZE", "1", "torchrun --nproc-per-node=1")
        port = int(found["MASTER_PORT"]) + 1  # torchrun listens on its own
        return _nodes(found["GROUP_WORLD_SIZE"], found["GROUP_RANK"], found["MASTER_ADDR"], port)
    count = found.get("SLURM_STEP_NUM_NODES", "1")
    if int(count) > 1:
        _check_one_each(found, "SLURM_STEP_NUM_TASKS", count, "srun --ntasks-per-node=1")
        port = SLURM_PORT + int(found.get("SLURM_JOB_ID", "0")) % 1000
        host = first_host(found["SLURM_STEP_NODELIST"])
        return _nodes(count, found["SLURM_NODEID"], host, port)
    return Nodes()


def _nodes(count: str, rank: str, host: str, port: int) -> Nodes:
    if int(count) == 1:
        return Nodes()
    return Nodes(count=int(count), rank=int(rank), endpoint=f"{host}:{port}")


def _check_one_each(found: Mapping[str, str], name: str, expected: str, command: str) -> None:
    if found.get(name, expected) != expected:
        raise UsageError(
            f"{name} is {found[name]}, but cnnperf starts the processes of a node itself: start "
            f"one on each node, as {command} does"
        )


def first_host(nodes: str) -> str:
    """Return the first name of Slurm's list of nodes.

    >>> first_host("gpu[07-09,12],login"), first_host("a,b"), first_host("rack[2,5]n[1-4]")
    ('gpu07', 'a', 'rack2n1')
    """
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])+", nodes)
    return re.sub(r"\[([^\],-]+)[^\]]*\]", r"\1", first[0] if first else nodes)
