"""Look up models, data sets and cases by name, register new ones, and select cases.

A module named by the ini key `cnnperf_modules` calls `register_model`, `register_dataset` and
`register_case`. Both pytest and the worker import it, so it names functions as
`"package.module:function"` and does not import torch.
"""

from __future__ import annotations

import difflib
import importlib
import re
import sys
from collections.abc import Iterable, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import TypeVar

from cnnperf.catalog.cases import BUILTIN_CASES, BUILTIN_MODELS, RECIPES
from cnnperf.catalog.changes import change_all
from cnnperf.catalog.datasets import BUILTIN_DATASETS
from cnnperf.catalog.engines import ENGINES
from cnnperf.catalog.loops import AnyCase, LoopCase
from cnnperf.catalog.specs import LIBRARIES, Case, DatasetSpec, ModelSpec, Scaling, Tier
from cnnperf.errors import UsageError, describe_import_error, one_of

BUILTIN_IDS = frozenset(case.id for case in BUILTIN_CASES)
BUILTIN_NAMES = {spec.name for spec in BUILTIN_MODELS} | {spec.name for spec in BUILTIN_DATASETS}

_models: dict[str, ModelSpec] = {spec.name: spec for spec in BUILTIN_MODELS}
_datasets: dict[str, DatasetSpec] = {spec.name: spec for spec in BUILTIN_DATASETS}
_cases: dict[str, AnyCase] = {case.id: case for case in BUILTIN_CASES}
_unchanged: dict[str, AnyCase] = {}
"""The case before --cnnperf-set and --cnnperf-devices, by the id after them."""

S = TypeVar("S", bound=ModelSpec | DatasetSpec | AnyCase)
C = TypeVar("C", Case, LoopCase)


def _add(kind: str, registry: dict[str, S], key: str, spec: S) -> S:
    """Add a description; the same one again is harmless, a different one is an error."""
    if registry.setdefault(key, spec) != spec:
        raise UsageError(
            f"{kind} {key!r} is registered already, with another description; choose another name"
        )
    return spec


def _find(kind: str, registry: dict[str, S], key: str) -> S:
    try:
        return registry[key]
    except KeyError:
        raise UsageError(one_of(kind, key, registry)) from None


def register_model(spec: ModelSpec) -> ModelSpec:
    """Make a model available by its name."""
    return _add("model", _models, spec.name, spec)


def register_dataset(spec: DatasetSpec) -> DatasetSpec:
    """Make a data set available by its name."""
    return _add("data set", _datasets, spec.name, spec)


def register_case(case: C) -> C:
    """Make a case available by its id.

    Raises:
        UsageError: the model or data set is unknown, they do not fit together, the recipe has the
            name of a built-in recipe but differs from it, or two cases measure a quality of one
            name in two ways.
    """
    if isinstance(case, LoopCase):
        _check_quality(case)
        _add("case", _cases, case.id, case)
        return case
    check_case(case)
    builtin = _cases.get(case.id) if case.id in BUILTIN_IDS else None
    if isinstance(builtin, Case) and builtin == case.model_copy(update={"tiers": builtin.tiers}):
        _cases[case.id] = case  # a project may choose other tiers for a built-in case
    else:
        _add("case", _cases, case.id, case)
    return case


def _check_quality(case: LoopCase) -> None:
    """Check that a name means the same in all cases, because tables have one column for it."""
    for other in _cases.values():
        known = {each.name: each for each in getattr(other, "quality", ())}
        for each in case.quality:
            same = known.get(each.name, each)
            if (same.better, same.unit) != (each.better, each.unit):
                raise UsageError(
                    f"case {case.id}: {each.name} ({each.better} is better, unit {each.unit}) is "
                    f"{same.better} and {same.unit} in {other.id}; choose another name"
                )


def check_case(case: Case) -> None:
    """Check that model, data set, recipe and engine of a case fit together.

    Raises:
        UsageError: they do not, or there is no such model or data set.
    """
    model, dataset = get_model(case.model), get_dataset(case.dataset)
    if RECIPES.get(case.recipe.name, case.recipe) != case.recipe:
        raise UsageError(
            f"case {case.id}: recipe {case.recipe.name!r} differs from cnnperf's own recipe of "
            "that name; choose another name"
        )
    engine = ENGINES[case.engine]
    if engine.models is not None and case.model not in engine.models:
        raise UsageError(
            f"case {case.id}: engine {case.engine} trains only {' and '.join(engine.models)}; use "
            "another engine"
        )
    unknown = case.recipe.updates_differently
    if unknown and not engine.whole_recipe:
        raise UsageError(
            f"case {case.id}: engine {case.engine} has a loop of its own, which does not know "
            f"{' and '.join(unknown)} of recipe {case.recipe.name}; use eager, fast, plain or amp"
        )
    if dataset.pipeline is not None and (engine.resident or not engine.whole_recipe):
        why = "keeps the data on the device" if engine.resident else "has a loop of its own"
        raise UsageError(
            f"case {case.id}: engine {case.engine} {why} and cannot use the pipeline of data set "
            f"{dataset.name}; use eager, plain or amp"
        )
    if case.resolution < model.min_resolution:
        raise UsageError(
            f"case {case.id}: {model.name} needs {model.min_resolution} pixels a side or more, got "
            f"{case.resolution}"
        )
    input_channels(model, dataset)


def input_channels(model: ModelSpec, dataset: DatasetSpec) -> int:
    """Return the number of channels in which `model` gets the images of `dataset`.

    Grey images are repeated for a model that prefers three channels, as the study did for its
    224-pixel models. Otherwise the images keep their own channels; a library's model is fitted.

    Raises:
        UsageError: the model does not accept the images, such as colour images for a grey model.
    """
    if "/" in model.builder:
        return dataset.channels
    for channels in (model.channels[0], dataset.channels):
        fits = channels == dataset.channels or (dataset.channels, channels) == (1, 3)
        if fits and channels in model.channels:
            return channels
    raise UsageError(
        f"data set {dataset.name} has {dataset.channels} channels, but model {model.name} accepts "
        f"{' or '.join(map(str, model.channels))}"
    )


def get_model(name: str) -> ModelSpec:
    """Return a model, also a library's; `UsageError` lists the possible names."""
    if name not in _models and name.startswith(tuple(f"{each}/" for each in LIBRARIES)):
        return ModelSpec(name=name, builder=name)
    return _find("model", _models, name)


def get_dataset(name: str) -> DatasetSpec:
    """Return a data set; `UsageError` lists the possible names."""
    return _find("data set", _datasets, name)


def get_case(case_id: str) -> AnyCase:
    """Return a case; `UsageError` names the most similar ids."""
    if case_id not in _cases:
        near = difflib.get_close_matches(case_id, _cases, n=3, cutoff=0.3)
        hint = f"similar ones: {', '.join(near)}; " if near else ""
        raise UsageError(f"there is no case {case_id!r}; {hint}`cnnperf list` shows all")
    return _cases[case_id]


def remove_builtin_cases() -> None:
    """Leave out cnnperf's own cases; their models, data sets and recipes stay."""
    for case_id in BUILTIN_IDS:
        _cases.pop(case_id, None)


def change_cases(changes: tuple[str, ...]) -> None:
    """Replace the cases by those with these changes, such as `recipe.batch_size=256`.

    Cases without such a field are left out.

    Raises:
        UsageError: there is no such field, or the value does not fit.
    """
    if not changes:
        return
    changed = change_all(list(_cases.values()), changes)
    _cases.clear()
    for new, old in changed:
        _cases[new.id] = new
        _unchanged[new.id] = unchanged(old)


def spread_cases(devices: Sequence[int], scaling: Scaling) -> None:
    """Replace the cases by those on so many devices; what has a number already only keeps its own.

    Cases that one device must train are left out: the user's loops, and suites infer and harness.
    """
    if not devices:
        return
    cases = [case for case in _cases.values() if isinstance(case, Case)]
    _cases.clear()
    for case in cases:
        if case.suite in ("infer", "harness"):
            continue
        if case.devices is not None:
            if case.devices in devices:
                _cases[case.id] = case
            continue
        for count in devices:
            spread = case.model_copy(update={"devices": count, "scaling": scaling})
            _cases[spread.id] = spread
            _unchanged[spread.id] = unchanged(case)


def unchanged(case: AnyCase) -> AnyCase:
    """Return a case as it was before --cnnperf-set and --cnnperf-devices."""
    return _unchanged.get(case.id, case)


def own_specs(cases: Iterable[AnyCase]) -> dict[str, tuple[ModelSpec | DatasetSpec, ...]]:
    """Return the user's models and data sets in these cases, for a worker to register."""
    trained = [case for case in cases if isinstance(case, Case)]
    models = {case.model: _models.get(case.model) for case in trained}
    datasets = {case.dataset: _datasets.get(case.dataset) for case in trained}
    return {
        kind: tuple(spec for name, spec in found.items() if spec and name not in BUILTIN_NAMES)
        for kind, found in (("models", models), ("datasets", datasets))
    }


def all_datasets() -> list[DatasetSpec]:
    """Return every data set in the order of registration."""
    return list(_datasets.values())


def all_cases(tier: Tier | None = None, suite: str | None = None) -> list[AnyCase]:
    """Return the cases of a tier and a suite in the order of registration; None means any."""
    return [
        case
        for case in _cases.values()
        if (tier is None or tier in case.tiers) and (suite is None or suite == case.suite)
    ]


def import_modules(
    names: Iterable[str], python_path: Sequence[str] = (), asked_by: str = "cnnperf_modules"
) -> None:
    """Import the user's modules, which register models, data sets and cases.

    Args:
        names: dotted module names.
        python_path: the user's folders, such as pytest's root.
        asked_by: the ini key or option that named them, for error messages.

    Raises:
        UsageError: a module cannot be imported.
    """
    names = list(names)
    if python_path:  # builders, loaders and losses are there too
        # At the end: a `json.py` or `numpy.py` in the user's folder must hide nothing.
        sys.path += [folder for folder in python_path if folder not in sys.path]
        sys.meta_path.insert(0, NamedModules(names, python_path))
    for name in names:
        try:
            importlib.import_module(name)
        except UsageError as error:
            raise UsageError(f"{asked_by}: {name}: {error}") from None
        except (Exception, SystemExit) as error:  # sys.exit(0) would pass a gate
            folder = python_path[0] if python_path else "sys.path"
            problem = describe_import_error(name, error, folder)
            raise UsageError(f"{asked_by}: {problem}") from error


class NamedModules:
    """Finds the modules that the user named in the user's folders before the installed ones.

    A project that is also installed is imported from its folder. Builders and loaders that the
    user registers are named, too. A module of Python itself is never replaced.
    """

    def __init__(self, names: Iterable[str], folders: Sequence[str]) -> None:
        self._names, self._folders = list(names), folders

    def find_spec(
        self, name: str, path: object = None, _target: object = None
    ) -> ModuleSpec | None:
        """Return where a top-level module is, or None to search `sys.path`."""
        if path is not None or name in sys.stdlib_module_names:
            return None
        builders = [spec.builder for spec in _models.values() if spec not in BUILTIN_MODELS]
        loaders = [spec.import_path for spec in _datasets.values() if spec not in BUILTIN_DATASETS]
        trainers = [getattr(case, "trainer", None) or "" for case in _cases.values()]
        named = (*self._names, *builders, *loaders, *trainers)
        if name not in {re.split("[.:]", each)[0] for each in named}:
            return None
        found = PathFinder.find_spec(name, self._folders)
        return found if found is not None and found.origin else None  # no folder without __init__


def folders_of(names: Iterable[str]) -> list[str]:
    """Return the folders in which imported modules of a user's project were found."""
    files = ((name, getattr(sys.modules[name], "__file__", None)) for name in names)
    folders = [
        Path(file).parents[name.count(".") + (Path(file).name == "__init__.py")]
        for name, file in files
        if file
    ]
    return [str(folder) for folder in folders if not folder.name.endswith("-packages")]


# --- selection by an expression, as in `pytest -k` ------------------------------------------------

MAX_NEAR = 5
"""Ids in the message about an expression that selects nothing."""


def select_cases(expression: str | None, tier: Tier) -> list[str]:
    """Return the ids of the selected cases of a tier, in the order of a run.

    Args:
        expression: words of ids with `and`, `or`, `not` and brackets; case does not matter. None
            selects suite `train`; an expression selects from all suites.
        tier: the tier of the run.

    Raises:
        UsageError: the expression is invalid or selects nothing; the message names similar ids.
    """
    if not expression:
        return [case.id for case in all_cases(tier, "train")]
    chosen = [case.id for case in all_cases(tier) if matches(expression, case.id)]
    if not chosen:
        hint = _hint(expression, tier)
        raise UsageError(f"-k {expression!r} selects no case of tier {tier}; {hint}")
    return chosen


def matches(expression: str, case_id: str) -> bool:
    """Return whether pytest's `-k` would select a test of that id.

    Raises:
        UsageError: the expression is invalid.
    """
    from _pytest.mark.expression import Expression  # pytest's own parser: same rules as -k

    def contains(word: str, /, **_: object) -> bool:
        return word.lower() in case_id.lower()

    try:
        return Expression.compile(expression).evaluate(contains)
    except Exception as error:  # a SyntaxError; up to pytest 8 an error of its own
        reason = getattr(error, "msg", None) or error
        raise UsageError(
            f"-k {expression!r}: {reason}; expected words of case ids with and, or, not, as in "
            "-k 'vgg and not 224'"
        ) from error


def _hint(expression: str, tier: Tier) -> str:
    """Name cases of another tier that the expression selects, else cases with similar words."""
    elsewhere = [case for case in all_cases() if matches(expression, case.id)]
    if elsewhere:
        other = elsewhere[0].tiers[0]
        there = [case.id for case in elsewhere if other in case.tiers]
        return f"try --tier={other}, which has {_some(there)}"
    ids = list(dict.fromkeys(case.id for case in (*all_cases(tier), *all_cases())))
    words = [word for word in re.findall(r"[a-z0-9]+", expression.lower()) if len(word) > 2]

    def is_near(case_id: str) -> bool:
        parts = re.split("[-_]", case_id.lower())
        return any(difflib.get_close_matches(word, parts, n=1, cutoff=0.7) for word in words)

    near = [case_id for case_id in ids if is_near(case_id)]
    return f"possible: {_some(near or ids)} (`cnnperf list` shows all)"


def _some(ids: list[str]) -> str:
    more = f" and {len(ids) - MAX_NEAR} more" if len(ids) > MAX_NEAR else ""
    return ", ".join(ids[:MAX_NEAR]) + more
