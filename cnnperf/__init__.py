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
    from cnnperf.api import train
    from cnnperf.models import build_model
    from cnnperf.registry import register_case, register_dataset, register_model
    from cnnperf.specs import Augmentation, Case, DatasetSpec, ModelSpec, Recipe

_HOMES = {
    "train": "cnnperf.api",
    "build_model": "cnnperf.models",
    "register_case": "cnnperf.registry",
    "register_dataset": "cnnperf.registry",
    "register_model": "cnnperf.registry",
    "Augmentation": "cnnperf.specs",
    "Case": "cnnperf.specs",
    "DatasetSpec": "cnnperf.specs",
    "ModelSpec": "cnnperf.specs",
    "Recipe": "cnnperf.specs",
}

__all__ = [
    "Augmentation",
    "Case",
    "DatasetSpec",
    "ModelSpec",
    "Recipe",
    "build_model",
    "register_case",
    "register_dataset",
    "register_model",
    "train",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its module on first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'cnnperf' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
