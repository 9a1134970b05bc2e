"""The engines' classes; `cnnperf.catalog.specs` lists them.

`eager` is plain PyTorch, `fast` runs at the device's limit. The others are peers: other people's
training loops for the same training, to compare with.
"""

from __future__ import annotations

import pkgutil

from cnnperf.catalog.engines import ENGINES, missing_package
from cnnperf.errors import NotInstalledError
from cnnperf.training.engines.base import Engine, SplitName
from cnnperf.training.engines.phase import Observer, TrainPhase


def engine_class(name: str) -> type[Engine]:
    """Import an engine's class; what each needs takes seconds, so none is imported before.

    Raises:
        NotInstalledError: the package that it needs is missing.
    """
    problem = missing_package(name)
    if problem is not None:
        raise NotInstalledError(problem)
    found: type[Engine] = pkgutil.resolve_name(ENGINES[name].path)
    return found


__all__ = [
    "Engine",
    "Observer",
    "SplitName",
    "TrainPhase",
    "engine_class",
]
