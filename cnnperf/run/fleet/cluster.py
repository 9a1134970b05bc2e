"""A Ray cluster: its nodes, what runs on them, and whether its head still answers."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from cnnperf.errors import NotInstalledError, UsageError, printable

SECONDS_BETWEEN_LOOKS = 1.0

LOST_SECONDS = 15.0
"""A head that has been silent for so long is lost. Ray itself waits for 60 s and then ends the
process with exit code 1, which is a verdict's."""

ANSWER_SECONDS = 300.0
"""Longest time in which a node answers a question; the first import from a cold disk is slow."""

QUIET = {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_USAGE_STATS_ENABLED": "0"}
"""Settings of Ray's in this process: no warning about GPUs, which agents choose themselves, and no
report on usage to Ray's makers from `--address local`."""

Ref = Any
"""A reference of Ray's to a result that is to come."""


@dataclass(frozen=True, kw_only=True)
class RayNode:
    """A node of the cluster that is alive."""

    id: str
    """New whenever Ray is started there."""
    host: str
    label: str
    """The host, and the name that the user gave the Ray node, if any: it stays."""
    gpus: int
    """As Ray counts them."""


class ProcessLostError(Exception):
    """A process of a node is gone, or the whole node: what ran in it is lost."""


class Cluster:
    """A connection to a Ray cluster.

    Args:
        address: `auto`, `local`, `ray://HOST:PORT`, or the HOST:PORT of a head.

    Raises:
        UsageError: Ray is not installed, or there is no such cluster.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._ray: Any = None
        self._nodes: list[RayNode] = []
        self._seen_at = self._asked_at = time.monotonic()
        self._is_lost = False
        self._is_over = threading.Event()

    def __enter__(self) -> Cluster:
        try:
            self._ray = importlib.import_module("ray")
        except ImportError as error:
            raise NotInstalledError(
                "a fleet run needs Ray, which is not installed here: run "
                "`pip install 'cnnperf[fleet]'` here and on every node"
            ) from error
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        handler = signal.getsignal(signal.SIGTERM)  # Ray's would exit with another code
        try:
            self._connect()
        except (OSError, RuntimeError, ValueError) as error:
            raise UsageError(self._why_not(error)) from error
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)
        self._look()
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def _connect(self) -> None:
        if self._address not in ("auto", "local"):  # Ray would try for minutes
            host, _, port = self._address.removeprefix("ray://").rpartition(":")
            if not host or not port.isdigit():
                raise ValueError("expected auto, local, ray://HOST:PORT or HOST:PORT")
            socket.create_connection((host, int(port)), timeout=10).close()
        options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
        if self._address == "local":
            options["include_dashboard"] = False
        self._ray.init(self._address, **options)

    def _why_not(self, error: Exception) -> str:
        reason = printable(str(error))[:200]
        if "ersion mismatch" in reason:
            return (
                f"the Ray cluster has another version of Ray or Python ({reason}): install the "
                "same here"
            )
        return (
            f"there is no Ray cluster at --address {self._address} ({reason}): start one with `ray "
            "start --head` and `ray start --address=HEAD:6379` on the nodes, or use --address "
            "local for this machine alone"
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_over.set()
        if not self.is_lost:  # else it waits for the head, and then ends this process
            with contextlib.suppress(Exception):
                self._ray.shutdown()

    # --- nodes --------------------------------------------------------------------------------

    def nodes(self) -> list[RayNode]:
        """Return the nodes that were alive a moment ago and that may be used, sorted by label.

        A node without CPUs and GPUs is meant for no work, as many heads are.
        """
        return self._nodes

    @property
    def is_lost(self) -> bool:
        """Whether the head no longer answers; ask now and then, and it stays so.

        Time in which nobody asked does not count: this process was stopped, by Ctrl-Z or a lid.
        """
        now = time.monotonic()
        if now - self._asked_at > LOST_SECONDS / 2:
            self._seen_at = max(self._seen_at, now)
        self._asked_at = now
        self._is_lost = self._is_lost or now - self._seen_at > LOST_SECONDS
        return self._is_lost

    def _watch(self) -> None:
        """Keep the list of nodes; in a thread, because Ray waits for a head that is gone."""
        host, _, port = self._head().rpartition(":")
        while not self._is_over.wait(SECONDS_BETWEEN_LOOKS):
            with contextlib.suppress(Exception):
                socket.create_connection((host, int(port)), timeout=5).close()
                self._look()

    def _head(self) -> str:
        if self._address.startswith("ray://"):
            return self._address.removeprefix("ray://")
        return str(self._ray.get_runtime_context().gcs_address)

    def _look(self) -> None:
        alive = [node for node in self._ray.nodes() if node["Alive"]]
        usable = [node for node in alive if {"CPU", "GPU"} & node["Resources"].keys()]
        self._nodes = sorted(map(_node_of, usable), key=lambda node: (node.label, node.id))
        self._seen_at = time.monotonic()

    # --- work ---------------------------------------------------------------------------------

    def ask(self, node: RayNode, function: str, *arguments: object) -> Ref:
        """Call a function of `cnnperf.run.fleet.node` there, which returns text."""

        def call(name: str, *arguments: object) -> object:  # travels as a whole: also to a node
            import importlib  # that lacks cnnperf

            module = importlib.import_module("cnnperf.run.fleet.node")
            return getattr(module, name)(*arguments)

        remote = self._ray.remote(call)
        return remote.options(**self._pinned(node), max_retries=0).remote(function, *arguments)

    def agent(self, node: RayNode, visible: str | None) -> Any:
        """Start an `Agent` there; it ends with this process."""
        from cnnperf.run.fleet.node import Agent

        return self._ray.remote(Agent).options(**self._pinned(node)).remote(visible)

    def _pinned(self, node: RayNode) -> dict[str, Any]:
        strategies = importlib.import_module("ray.util.scheduling_strategies")
        strategy = strategies.NodeAffinitySchedulingStrategy(node.id, soft=False)
        return {"num_cpus": 0, "scheduling_strategy": strategy}

    def end(self, agent: Any) -> None:
        """End an agent and what it trains."""
        with contextlib.suppress(Exception):
            self._ray.kill(agent)

    def wait(self, refs: Sequence[Ref], seconds: float) -> list[Ref]:
        """Return those that have ended, after waiting for one."""
        done, rest = self._ray.wait(list(refs), num_returns=1, timeout=seconds)
        if done and rest:
            done += self._ray.wait(rest, num_returns=len(rest), timeout=0)[0]
        return list(done)

    def result(self, ref: Ref, seconds: float = ANSWER_SECONDS) -> str:
        """Return a result.

        Raises:
            ProcessLostError: its process or node is gone.
            UsageError: cnnperf is not installed there, or the node does not answer.
        """
        errors = importlib.import_module("ray.exceptions")
        try:
            return str(self._ray.get(ref, timeout=seconds))
        except errors.GetTimeoutError as error:
            raise UsageError(
                f"no answer within {seconds:g} s: restart Ray there, or stop it with `ray stop`"
            ) from error
        except errors.RayTaskError as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, ModuleNotFoundError):
                raise UsageError(
                    f"{cause.name} is not installed there: install what this machine has, with "
                    "`pip install 'cnnperf[train,fleet]'`"
                ) from error
            raise
        except errors.RayError as error:
            raise ProcessLostError(_why_lost(str(error))) from error


def _why_lost(text: str) -> str:
    """Return in a few words what Ray describes at length, with ids."""
    if "out of memory" in text.lower():
        return "out of memory"
    is_node = "node has died" in text or "node specified" in text
    return "the node died or is unreachable" if is_node else "its process ended"


def _node_of(found: dict[str, Any]) -> RayNode:
    host, name = str(found["NodeManagerHostname"]), str(found.get("NodeName") or "")
    is_named = name not in ("", host, found["NodeManagerAddress"])
    return RayNode(
        id=found["NodeID"],
        host=host,
        label=f"{host}-{name}" if is_named else host,
        gpus=int(found["Resources"].get("GPU", 0)),
    )
