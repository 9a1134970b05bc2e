"""Which devices a case needs, and whether this machine and its nodes have them."""

from __future__ import annotations

from typing import Any

import pytest

from cnnperf.machine.nodes import Nodes
from cnnperf.run import plan as plan_module
from cnnperf.run.plan import missing_devices
from tests.examples import example_case


@pytest.mark.parametrize(
    ("devices", "gpus", "device", "problem"),
    [
        (None, 0, "auto", None),
        (8, 8, "auto", None),
        (9, 8, "auto", "9 devices are needed on this machine, which has 8 devices"),
        (4, 0, "auto", "4 devices are needed on this machine, which has 2 CPU cores"),
        (4, 8, "cpu", "4 devices are needed on this machine, which has 2"),
        (64, 128, "cuda", "64 devices cannot share a batch of 32 images"),
    ],
)
def test_devices_that_are_missing_are_named(
    monkeypatch: pytest.MonkeyPatch, devices: int | None, gpus: int, device: Any, problem: str
) -> None:
    """GPUs where there are any, else cores, one a device."""
    monkeypatch.setattr(plan_module, "count_gpus", lambda: gpus)
    monkeypatch.setattr(plan_module.os, "sched_getaffinity", lambda _pid: {0, 1}, raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    case = example_case(batch_size=32).model_copy(update={"devices": devices})
    found = missing_devices(case, device)
    assert found is None if problem is None else str(found).startswith(problem)


def test_devices_are_divided_among_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What needs fewer devices than nodes is the first node's; others must be a multiple."""
    monkeypatch.setattr(plan_module, "count_gpus", lambda: 8)
    nodes = [Nodes(count=3, rank=rank, endpoint="a:1") for rank in range(3)]

    def problem(devices: int | None, node: int) -> str:
        monkeypatch.setattr(plan_module, "find_nodes", lambda: nodes[node])
        case = example_case().model_copy(update={"devices": devices})
        return missing_devices(case, "cuda") or "none"

    assert problem(24, 0) == problem(24, 2) == problem(1, 0) == problem(None, 0) == "none"
    assert problem(1, 2) == problem(None, 2) == "node 2 of 3 trains only what needs all of them"
    assert problem(16, 1) == "16 devices cannot be divided among 3 nodes: choose a multiple"
