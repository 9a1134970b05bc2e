"""cnnperf: did this change make CNN training faster or slower, and does it still learn as well?

    from cnnperf import compare, train
    base = train("modified_vgg-digits-28-eager", repeats=3)
    new = train("modified_vgg-digits-28-eager", repeats=3)
    print(compare(base, new))

Importing this package imports nothing heavy; the names below load what they need when used.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cnnperf.catalog.loops import LoopCase, Quality
    from cnnperf.catalog.registry import register_case, register_dataset, register_model
    from cnnperf.catalog.specs import Augmentation, Case, DatasetSpec, ModelSpec, Recipe
    from cnnperf.cli.python.comparison import compare, load
    from cnnperf.cli.python.result import TrainResult
    from cnnperf.cli.python.training import train
    from cnnperf.compare.verdicts import Comparison
    from cnnperf.errors import UsageError
    from cnnperf.models import build_model
    from cnnperf.record.schema import Record
    from cnnperf.run.worker_process import WorkerError
    from cnnperf.training import observe

_HOMES = {
    "train": "cnnperf.cli.python.training",
    "load": "cnnperf.cli.python.comparison",
    "TrainResult": "cnnperf.cli.python.result",
    "Record": "cnnperf.record.schema",
    "Comparison": "cnnperf.compare.verdicts",
    "UsageError": "cnnperf.errors",
    "WorkerError": "cnnperf.run.worker_process",
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
    "Comparison",
    "DatasetSpec",
    "LoopCase",
    "ModelSpec",
    "Quality",
    "Recipe",
    "Record",
    "TrainResult",
    "UsageError",
    "WorkerError",
    "build_model",
    "compare",
    "load",
    "observe",
    "register_case",
    "register_dataset",
    "register_model",
    "train",
]


_MODULES = {"compare": "cnnperf.compare", "observe": "cnnperf.training.observe"}
"""Names that are modules; calling `compare` compares, see `CallableRoom`."""


def __getattr__(name: str) -> Any:
    """Load a public name from its module on first use (PEP 562)."""
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    if name not in _HOMES:
        raise AttributeError(f"module 'cnnperf' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


class CallableRoom(ModuleType):
    """The package `cnnperf.compare`, which can be called as the function `compare`.

    Once a module of that package is imported, Python makes `cnnperf.compare` the package, whatever
    `__getattr__` would return.
    """

    def __call__(self, *sides: Any, **options: Any) -> Comparison:
        """Judge two records; see `cnnperf.cli.python.comparison.compare`."""
        function: Callable[..., Comparison] = _find_compare()
        return function(*sides, **options)

    @property
    def __signature__(self) -> Any:
        """What `help` and notebooks show."""
        import inspect

        return inspect.signature(_find_compare())


def _find_compare() -> Any:
    return importlib.import_module("cnnperf.cli.python.comparison").compare
