"""How a recipe is executed: `eager`, as a careful user would write it."""

from __future__ import annotations

from cnnperf.engines.base import Engine, Evaluation, Observer, SplitName, TrainPhase
from cnnperf.engines.eager import EagerEngine

ENGINES: dict[str, type[Engine]] = {"eager": EagerEngine}

__all__ = ["ENGINES", "Engine", "Evaluation", "Observer", "SplitName", "TrainPhase"]
