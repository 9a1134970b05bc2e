"""Several devices that train one case together, as a record holds them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from cnnperf.catalog.specs import Scaling
from cnnperf.record.environment import STRICT, Finite, Listed

STRAGGLER = 0.05
"""Share by which the slowest rank computes longer than the median one before it is named."""

Cause = Literal["compute", "slowest_rank", "communication", "data"]
"""What a step's time on several devices goes to: computing as the mean rank does, waiting for the
slowest, messages that no computation hides, waiting for data."""


class RankTimes(BaseModel):
    """One of the processes that train together."""

    model_config = STRICT

    rank: int
    host: str | None = None
    device: str
    """torch's name, such as `cuda:3`."""
    gpu_uuid_sha256: str | None = None
    """As `Gpu.uuid_sha256`."""
    worker_pid: int | None = None
    compute_seconds_per_step: Finite | None = None
    """Median of a step without messages, timed after the run; None in a foreign loop."""
    data_wait_fraction: Finite | None = None
    peak_memory_bytes: int | None = None


class Group(BaseModel):
    """Several devices that trained together."""

    model_config = STRICT

    devices: Annotated[int, Field(ge=1)]
    scaling: Scaling = "strong"
    nodes: int = 1
    backend: str | None = None
    """torch's name of what carries the messages: `nccl`, `gloo` or `xccl`."""
    batch_norm: Literal["local"] = "local"
    """Each device normalises by its own images."""
    images_per_step: int | None = None
    """On all devices together."""
    gradient_bytes: int | None = None
    """Bytes of the gradients that are averaged in a step."""
    step_seconds: Finite | None = None
    """Median of a step with messages, timed in turns with those without."""
    ranks: Listed[RankTimes] = []

    @property
    def shares(self) -> dict[Cause, float]:
        """What a step's time goes to, as shares of it that add up to 1; empty where not timed.

        Communication is what is left, at least 0: the timed steps are few.
        """
        alone = [each.compute_seconds_per_step for each in self.ranks]
        known = [seconds for seconds in alone if seconds is not None]
        if self.step_seconds is None or not known or len(known) < len(alone):
            return {}
        mean, slowest = sum(known) / len(known), max(known)
        whole = max(self.step_seconds, slowest)
        data = max((each.data_wait_fraction or 0.0 for each in self.ranks), default=0.0)
        rest = (1 - data) / whole
        return {
            "compute": mean * rest,
            "slowest_rank": (slowest - mean) * rest,
            "communication": (whole - slowest) * rest,
            "data": data,
        }

    @property
    def straggler(self) -> RankTimes | None:
        """The rank that computes much longer than the median one; None if none does."""
        timed = [each for each in self.ranks if each.compute_seconds_per_step is not None]
        if len(timed) < 2:
            return None
        timed.sort(key=lambda each: each.compute_seconds_per_step or 0.0)
        median = timed[(len(timed) - 1) // 2].compute_seconds_per_step or 0.0
        last = timed[-1]
        return last if (last.compute_seconds_per_step or 0.0) > (1 + STRAGGLER) * median else None
