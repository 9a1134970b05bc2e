"""cnnperf: did this change make CNN training faster or slower, and does it still learn as well?

    from cnnperf import train
    result = train("modified_vgg-digits-28-eager")
    print(result.metrics.test_accuracy)

Importing this package imports nothing heavy; the names below load what they need when used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cnnperf.catalog.loops import LoopCase, Quality
    from cnnperf.catalog.registry import register_case, register_dataset, register_model
    from cnnperf.catalog.specs import Augmentation, Case, DatasetSpec, ModelSpec, Recipe
    from cnnperf.models import build_model
    from cnnperf.run.train import train
    from cnnperf.training import observe

_HOMES = {
    "train": "cnnperf.run.train",
    "observe": "cnnperf.training.observe",
    "build_model": "cnnperf.models",
    "register_case": "cnnperf.catalog.registry",
    "register_dataset": "cnnperf.catalog.registry",
    "register_model": "cnnperf.catalog.registry",
    "Augmentation": "cnnperf.catalog.specs",
    "Case": "cnnperf.catalog.specs",
    "LoopCase": "cnnperf.catalog.loops",
    "Quality": "cnnperf.catalog.loops",
    "DatasetSpec": "cnnperf.catalog.specs",
    "ModelSpec": "cnnperf.catalog.specs",
    "Recipe": "cnnperf.catalog.specs",
}

__all__ = [
    "Augmentation",
    "Case",
    "DatasetSpec",
    "LoopCase",
    "ModelSpec",
    "Quality",
    "Recipe",
    "build_model",
    "observe",
    "register_case",
    "register_dataset",
    "register_model",
    "train",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its module on first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'cnnperf' has no attribute {name!r}")
    found = importlib.import_module(_HOMES[name])
    return (
        found if name == "observe" else getattr(found, name)
    )  # a module with functions of its own
