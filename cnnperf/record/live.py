"""Define what is recorded about the live objects of a training: optimizer, loss and schedule."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from cnnperf.record.environment import Fields

RecipePart = Literal["optimizer", "loss", "schedule"]


class LiveTraining(Fields):
    """How a repeat learned, read from its live objects; code in their methods is not visible."""

    optimizer: str
    """Class and arguments, without those that are zero or change only the speed."""
    loss: str
    schedule: str | None = None
    """How arguments of the optimizer change during training; None where they do not."""
    contradicts: Annotated[tuple[RecipePart, ...], Field(strict=False)] = ()
    """The parts that the recipe describes otherwise."""

    @property
    def overrides(self) -> dict[RecipePart, str]:
        """What is live where the recipe claims something else."""
        return {part: getattr(self, part) or "none" for part in self.contradicts}
