"""What must be equal for two records of a case to be comparable, as a record holds it."""

from __future__ import annotations

import hashlib

from pydantic import BaseModel, ConfigDict, JsonValue

from cnnperf.catalog.loops import Quality
from cnnperf.catalog.specs import Augmentation, Recipe
from cnnperf.record.environment import STRICT, Listed
from cnnperf.record.live import RecipePart


class RecordedAugmentation(Augmentation):
    """An augmentation in a file. Fields that newer versions add are ignored."""

    model_config = ConfigDict(**STRICT, frozen=True, from_attributes=True)


class RecordedRecipe(Recipe):
    """A recipe in a file. Fields that newer versions add are ignored."""

    model_config = ConfigDict(**STRICT, frozen=True, from_attributes=True)

    augmentation: RecordedAugmentation | None = None


class RecordedQuality(Quality):
    """A quality in a file. Fields that newer versions add are ignored."""

    model_config = ConfigDict(**STRICT, frozen=True, from_attributes=True)


class Loop(BaseModel):
    """A training loop of the user's; its code is not part of it."""

    model_config = STRICT

    trainer: str | None = None
    command: Listed[str] | None = None
    clock: str = "training"
    settings: dict[str, JsonValue] = {}


class Fingerprint(BaseModel):
    """What must be equal for two records of a case to be comparable."""

    model_config = STRICT

    model_sha256: str | None = None
    dataset_sha256: str | None = None
    recipe: RecordedRecipe | None = None
    """None of a loop of the user's; so are resolution and precision."""
    resolution: int | None = None
    precision: str | None = None
    loop: Loop | None = None
    overrides: dict[RecipePart, str] = {}
    """What was live instead of the recipe's `optimizer`, `loss` or `schedule`."""

    @property
    def digest(self) -> str:
        """Short hash of the whole fingerprint."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]
