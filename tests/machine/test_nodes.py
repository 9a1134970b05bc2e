"""Which nodes train together, from the variables that Slurm and torchrun set."""

from __future__ import annotations

import pytest

from cnnperf.errors import UsageError
from cnnperf.machine.nodes import Nodes, find_nodes, first_host

TORCHRUN = {
    "GROUP_WORLD_SIZE": "2", "GROUP_RANK": "1", "LOCAL_WORLD_SIZE": "1", "LOCAL_RANK": "0",
    "MASTER_ADDR": "10.0.0.7", "MASTER_PORT": "29500", "RANK": "1", "WORLD_SIZE": "2",
}  # fmt: skip
SLURM = {
    "SLURM_JOB_ID": "123456", "SLURM_STEP_NUM_NODES": "3", "SLURM_STEP_NUM_TASKS": "3",
    "SLURM_NODEID": "2", "SLURM_STEP_NODELIST": "gpu[07-09]",
}  # fmt: skip


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, Nodes()),
        (TORCHRUN, Nodes(count=2, rank=1, endpoint="10.0.0.7:29501")),
        ({**TORCHRUN, "GROUP_WORLD_SIZE": "1", "GROUP_RANK": "0"}, Nodes()),
        (SLURM, Nodes(count=3, rank=2, endpoint="gpu07:29956")),
        ({"SLURM_JOB_ID": "1", "SLURM_NNODES": "4"}, Nodes()),  # sbatch without srun: one process
    ],
)
def test_nodes_come_from_the_environment(variables: dict[str, str], expected: Nodes) -> None:
    """They meet on the first one, at a port that torchrun's own store does not use."""
    assert find_nodes(variables) == expected


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({**TORCHRUN, "LOCAL_WORLD_SIZE": "8"}, r"start one on each node, as torchrun"),
        ({**SLURM, "SLURM_STEP_NUM_TASKS": "24"}, r"as srun --ntasks-per-node=1 does"),
        ({"GROUP_WORLD_SIZE": "2"}, r"not completely \('MASTER_PORT'\)"),
    ],
)
def test_other_launches_are_refused(variables: dict[str, str], message: str) -> None:
    """Several processes on a node would each train everything."""
    with pytest.raises(UsageError, match=message):
        find_nodes(variables)


def test_first_host_of_slurms_list() -> None:
    """As `scontrol show hostnames` expands it."""
    lists = ["gpu[07-09,12],login", "a,b", "rack[2,5]n[1-4]", "single"]
    assert list(map(first_host, lists)) == ["gpu07", "a", "rack2n1", "single"]


def test_fewer_devices_than_nodes_stay_on_the_first() -> None:
    """So that one device is a reference for many."""
    both = Nodes(count=2, rank=1, endpoint="a:1")
    assert both.of(4) == both
    assert both.of(1) == both.of(None) == Nodes(rank=1)
