"""How a recipe is executed: `eager`, as a careful user would, or `fast`, at the device's limit.

The other engines are peers: the same training by other people's loops, to be measured against.
"""

from __future__ import annotations

import pkgutil

from cnnperf.engines.base import Engine, Evaluation, Observer, SplitName, TrainPhase
from cnnperf.engines.eager import EagerEngine
from cnnperf.engines.fast import FastEngine
from cnnperf.errors import NotInstalledError
from cnnperf.peers import missing_package

ENGINES = {
    "eager": "cnnperf.engines.eager:EagerEngine",
    "fast": "cnnperf.engines.fast:FastEngine",
    "plain": "cnnperf.engines.peers.plain:PlainEngine",
    "amp": "cnnperf.engines.peers.amp:AmpEngine",
    "lightning": "cnnperf.engines.peers.lightning:LightningEngine",
    "lightning_bf16": "cnnperf.engines.peers.lightning:LightningBf16Engine",
    "accelerate": "cnnperf.engines.peers.accelerate:AccelerateEngine",
    "accelerate_bf16": "cnnperf.engines.peers.accelerate:AccelerateBf16Engine",
    "timm": "cnnperf.engines.peers.timm:TimmEngine",
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
