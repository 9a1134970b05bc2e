"""Define what is recorded of a short deterministic training, which finds wrong arithmetic."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from cnnperf.record.environment import STRICT, Finite, Listed


class NumericsTraining(BaseModel):
    """One of several equal trainings on one device.

    Equal devices with equal software have equal losses and weights, to the last bit.
    """

    model_config = STRICT

    seed: Annotated[int, Field(ge=0, le=2**64)]
    step_losses: Listed[Finite]
    """Training loss of every step, in order."""
    weights_sha256: str | None = None
    """Hash of the final weights."""
