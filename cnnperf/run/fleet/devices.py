"""The devices of a fleet run, node by node, and what each of them has still to train."""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cnnperf.errors import UsageError
from cnnperf.record.anonymous import anonymous_name
from cnnperf.record.environment import Environment
from cnnperf.record.messages import Device
from cnnperf.run.fleet.cluster import RayNode, Ref
from cnnperf.run.fleet.node import Card, NodeFacts
from cnnperf.run.fleet.order import Step, Training
from cnnperf.run.session import RunSession


@dataclass(kw_only=True)
class FleetDevice:
    """One device of a fleet run."""

    name: str
    """Such as `node7-gpu3`: its record is `node7-gpu3.json`."""
    kind: Device
    card: Card | None = None
    """None where the CPU trains."""
    agent: Any = None
    """Ray's handle of the process that holds the device; None while there is none."""
    session: RunSession | None = None
    """None before the device is probed, and where a resumed run has nothing left to do."""

    @property
    def run(self) -> RunSession:
        """The session of a device that has been probed."""
        assert self.session is not None
        return self.session


Task = Training | FleetDevice
"""What an agent is doing: a training, or taking its device."""


@dataclass(kw_only=True)
class FleetNode:
    """A node and the state of its work."""

    label: str
    """Unique in the fleet run, for files and sentences."""
    base: str
    """Label of the Ray node, which is the same when the node comes back."""
    ray: RayNode | None
    """None while the node is lost."""
    devices: list[FleetDevice]
    steps: deque[Step] = field(default_factory=deque)
    running: dict[Ref, Task] = field(default_factory=dict)
    candidate: RayNode | None = None
    """The node that came back, while its devices are taken."""
    lost_at: float = 0.0
    """Monotonic time, in seconds; so is the next."""
    retry_at: float = 0.0
    reason: str = ""
    """Why it was lost."""
    is_given_up: bool = False

    @property
    def is_busy(self) -> bool:
        """Whether it has, or may get, something to do."""
        return bool(self.running) or (bool(self.steps) and not self.is_given_up)

    def device(self, name: str) -> FleetDevice:
        """Return one of its devices."""
        return next(each for each in self.devices if each.name == name)


def find_devices(
    nodes: Iterable[RayNode], facts: Mapping[str, NodeFacts], asked: Device, *, is_anonymous: bool
) -> list[FleetNode]:
    """Return the devices of every node: each GPU, or the CPU of a node without.

    Args:
        nodes: the nodes, sorted by label.
        facts: what is known of them, by id.
        asked: --device; `cuda` leaves out nodes without a GPU, another kind is one device a node.
        is_anonymous: whether hosts are hashes in the names.

    Raises:
        UsageError: no node has such a device.
    """
    nodes = list(nodes)
    count, seen = Counter(node.label for node in nodes), Counter[str]()
    found = []
    for node in nodes:
        seen[node.label] += 1
        label = anonymous_name(node.label) if is_anonymous else node.label
        label = re.sub(r"[^\w.-]+", "-", label)
        label += f"-{seen[node.label]}" if count[node.label] > 1 else ""
        devices = _devices_of(label, facts[node.id].cards, asked)
        if devices:
            found.append(FleetNode(label=label, base=node.label, ray=node, devices=devices))
    if not found:
        raise UsageError(
            "no node of the Ray cluster has an NVIDIA GPU: train on the CPUs with --device cpu, or "
            "check that `nvidia-smi` works on the nodes"
        )
    return found


def _devices_of(label: str, cards: Iterable[Card], asked: Device) -> list[FleetDevice]:
    if asked in ("auto", "cuda"):
        gpus = [FleetDevice(name=f"{label}-{card.label}", kind="cuda", card=card) for card in cards]
        if gpus or asked == "cuda":
            return gpus
    kind: Device = "cpu" if asked == "auto" else asked
    return [FleetDevice(name=f"{label}-{kind}", kind=kind)]


def card_of(environment: Environment) -> str | None:
    """Return the hashed UUID of the GPU; None where there is none."""
    gpu = environment.hardware.gpu
    return None if gpu is None else gpu.uuid_sha256


def describe_task(task: Task) -> str:
    """Return the device, and the case that it trains."""
    return f"{task.device} {task.case_id}" if isinstance(task, Training) else task.name
