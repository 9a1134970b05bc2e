"""How a recipe is executed: `eager`, as a careful user would, or `fast`, at the device's limit."""

from __future__ import annotations

from cnnperf.engines.base import Engine, Evaluation, Observer, SplitName, TrainPhase
from cnnperf.engines.eager import EagerEngine
from cnnperf.engines.fast import FastEngine

ENGINES: dict[str, type[Engine]] = {"eager": EagerEngine, "fast": FastEngine}

__all__ = ["ENGINES", "Engine", "Evaluation", "Observer", "SplitName", "TrainPhase"]
