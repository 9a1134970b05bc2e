"""The engines: the ways to train a case."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass


@dataclass(frozen=True)
class EngineSpec:
    """One way to train a case.

    To add one, write its class in `cnnperf.training.engines` and add an entry to `ENGINES`.
    """

    path: str
    """Import path of its class, `package.module:Class`; only the worker imports it."""
    package: str | None = None
    """Package that it needs beyond the extra `train`."""
    is_peer: bool = True
    """Whether it is other people's training loop, which `fast` is measured against."""
    bfloat16: bool = False
    """Whether it always multiplies in bfloat16; `fast` chooses for each case."""
    models: tuple[str, ...] | None = None
    """The only models that it trains; None if it trains any."""
    whole_recipe: bool = True
    """Whether it trains by every field of a recipe; False for a loop of its own."""
    resident: bool = False
    """Whether it keeps the data set on the device, which a pipeline cannot give it."""


_OWN = "cnnperf.training.engines"
_PEERS = "cnnperf.training.engines.peers"

ENGINES = {
    "eager": EngineSpec(f"{_OWN}.eager:EagerEngine", is_peer=False),
    "fast": EngineSpec(f"{_OWN}.fast.engine:FastEngine", is_peer=False, resident=True),
    "plain": EngineSpec(f"{_PEERS}.plain:PlainEngine"),
    "amp": EngineSpec(f"{_PEERS}.plain:AmpEngine", bfloat16=True),
    "lightning": EngineSpec(f"{_PEERS}.lightning:LightningEngine", "lightning", whole_recipe=False),
    "lightning_bf16": EngineSpec(
        f"{_PEERS}.lightning:LightningBf16Engine", "lightning", bfloat16=True, whole_recipe=False
    ),
    "accelerate": EngineSpec(
        f"{_PEERS}.accelerate:AccelerateEngine", "accelerate", whole_recipe=False
    ),
    "accelerate_bf16": EngineSpec(
        f"{_PEERS}.accelerate:AccelerateBf16Engine", "accelerate", bfloat16=True, whole_recipe=False
    ),
    "timm": EngineSpec(
        f"{_PEERS}.plain:TimmEngine", "timm", bfloat16=True, models=("vgg16", "resnet34")
    ),
}

OWN_ENGINES = tuple(name for name, spec in ENGINES.items() if not spec.is_peer)


def missing_package(engine: str) -> str | None:
    """Return a sentence if this interpreter lacks the package of an engine, else None."""
    package = ENGINES[engine].package
    if package is None or importlib.util.find_spec(package) is not None:
        return None
    return f"engine {engine} needs {package}: pip install 'cnnperf[peers]'"


def other_packages(engine: str) -> set[str]:
    """Return the packages of all other engines: their versions do not affect this one."""
    own = ENGINES[engine].package if engine in ENGINES else None
    return {spec.package for spec in ENGINES.values() if spec.package} - {own}
