"""How a recipe is executed: `eager`, as a careful user would, or `fast`, at the device's limit.

The other engines are peers: the same training by other people's loops, to be measured against.
"""

from __future__ import annotations

import pkgutil

from cnnperf.catalog.peers import missing_package
from cnnperf.errors import NotInstalledError
from cnnperf.training.engines.base import Engine, Evaluation, Observer, SplitName, TrainPhase
from cnnperf.training.engines.eager import EagerEngine
from cnnperf.training.engines.fast.engine import FastEngine

ENGINES = {
    "eager": "cnnperf.training.engines.eager:EagerEngine",
    "fast": "cnnperf.training.engines.fast.engine:FastEngine",
    "plain": "cnnperf.training.engines.peers.plain:PlainEngine",
    "amp": "cnnperf.training.engines.peers.amp:AmpEngine",
    "lightning": "cnnperf.training.engines.peers.lightning:LightningEngine",
    "lightning_bf16": "cnnperf.training.engines.peers.lightning:LightningBf16Engine",
    "accelerate": "cnnperf.training.engines.peers.accelerate:AccelerateEngine",
    "accelerate_bf16": "cnnperf.training.engines.peers.accelerate:AccelerateBf16Engine",
    "timm": "cnnperf.training.engines.peers.timm:TimmEngine",
}
"""Import paths: a peer's packages take seconds to import, and need not be installed."""


def engine_class(name: str) -> type[Engine]:
    """The engine of that name, imported only now.

    Raises:
        NotInstalledError: the package that it needs is not there.
    """
    problem = missing_package(name)
    if problem is not None:
        raise NotInstalledError(problem)
    found: type[Engine] = pkgutil.resolve_name(ENGINES[name])
    return found


__all__ = [
    "ENGINES",
    "EagerEngine",
    "Engine",
    "Evaluation",
    "FastEngine",
    "Observer",
    "SplitName",
    "TrainPhase",
    "engine_class",
]
