"""Which cases a test runs: those of its suite and tier that its parameters name.

A benchmark module lists its cases with pytest's own decorator:

    @pytest.mark.parametrize("engine", ["eager", "fast"])
    @pytest.mark.parametrize(("model", "dataset", "resolution"), [("vgg16", "mnist", 224)])
    def test_train(cnnperf_case, cnnperf_train): ...

The plugin replaces these marks by the cases that they name and that the tier holds, so that a
test id is a case id. Cases that the user registers are added. A test without such marks runs every
case of its suite.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

import pytest

from cnnperf.errors import UsageError, one_of
from cnnperf.pytest_plugin.state import SETTINGS, TIER

if TYPE_CHECKING:
    from cnnperf.catalog.loops import AnyCase
    from cnnperf.catalog.specs import Tier

NO_CASES = "none"
"""Takes the place of a case id, so that pytest reports why a test does nothing."""

NAMES = {"model", "dataset", "resolution", "recipe", "engine", "variant", "devices", "scaling"}
"""Parameters that name a case; recipe is `report`, the study's, unless a test has another."""

Row = dict[str, Any]


def suite_of(test: pytest.Item) -> str:
    """Return the suite in a test's marker; it is `train` without one.

    Raises:
        UsageError: the marker has other arguments, or the suite does not exist.
    """
    from cnnperf.catalog.specs import Suite

    marker = test.get_closest_marker("cnnperf")
    if marker is None:
        return "train"
    names = [*marker.args, marker.kwargs.get("suite")][:1]
    if len(marker.args) + len(marker.kwargs) != 1 or names == [None]:
        raise UsageError(
            f"{test.nodeid}: expected @pytest.mark.cnnperf(suite=...) and nothing else"
        )
    if names[0] not in get_args(Suite):
        raise UsageError(f"{test.nodeid}: {one_of('suite', str(names[0]), get_args(Suite))}")
    return str(names[0])


def cases_of(test: pytest.Item, tables: list[list[Row]], tier: Tier) -> list[AnyCase]:
    """Return the cases of a test's suite and tier that all tables name, and the user's cases.

    Raises:
        UsageError: a row names no case.
    """
    from cnnperf.catalog.cases import BUILTIN_CASES
    from cnnperf.catalog.registry import BUILTIN_IDS, all_cases, unchanged

    suite = suite_of(test)
    everything = [unchanged(case) for case in all_cases(suite=suite)]
    everything += [case for case in BUILTIN_CASES if case.suite == suite]  # if --cnnperf-devices
    for row in (row for table in tables for row in table):
        if not any(_matches(case, row) for case in everything):
            wanted = ", ".join(f"{name}={value!r}" for name, value in row.items())
            raise UsageError(
                f"{test.nodeid}: no case of suite {suite} has {wanted}; `cnnperf list` shows all"
            )
    return [
        case
        for case in all_cases(tier, suite)
        if unchanged(case).id not in BUILTIN_IDS
        or all(any(_matches(unchanged(case), row) for row in table) for table in tables)
    ]


def take_tables(test: pytest.Item) -> list[list[Row]]:
    """Remove the marks that name cases from a test; return the rows of each."""
    tables: list[list[Row]] = []
    for mark in list(test.own_markers):
        names = mark.args[0] if mark.name == "parametrize" and mark.args else ()
        names = [each.strip() for each in names.split(",")] if isinstance(names, str) else names
        if names and NAMES.issuperset(names):
            test.own_markers.remove(mark)
            tables.append([_row(names, given) for given in mark.args[1]])
    if tables and not any("recipe" in row for table in tables for row in table):
        tables.append([{"recipe": "report"}])
    return tables


def _row(names: Sequence[str], given: Any) -> Row:
    if hasattr(given, "marks"):  # pytest.param
        given = given.values
    elif len(names) == 1:
        given = [given]
    return dict(zip(names, given, strict=True))


def _matches(case: AnyCase, row: Row) -> bool:
    recipe = getattr(case, "recipe", None)  # a loop of the user's has none
    facts = {**dict(case), "engine": case.engine, "recipe": recipe and recipe.name}
    return all(facts.get(name) == value for name, value in row.items())


def prepare_collection(config: pytest.Config) -> tuple[Tier, str]:
    """Import the user's modules and choose the tier, once a run.

    Raises:
        UsageError: a package for training is missing, or a module cannot be imported.
    """
    if TIER not in config.stash:
        from cnnperf.catalog.registry import change_cases, folders_of, spread_cases
        from cnnperf.run.plan import choose_tier
        from cnnperf.run.project import Project
        from cnnperf.run.session import missing_packages
        from cnnperf.run.settings import BUILTIN_KEY

        settings = config.stash[SETTINGS]
        if settings.python is None and (missing := missing_packages()):
            raise UsageError(
                f"training needs {', '.join(missing)}: pip install 'cnnperf[train]' "
                "(in a checkout: pip install -e '.[train]')"
            )
        Project(
            root=config.rootpath,
            modules=settings.modules,
            python_path=settings.python_path,
            builtin_cases=config.getini(BUILTIN_KEY),
        ).register()
        change_cases(settings.set)
        spread_cases(settings.devices or (), settings.scaling)
        # pytest may have found the modules elsewhere, such as beside a conftest.py.
        python_path = dict.fromkeys([*settings.python_path, *folders_of(settings.modules)])
        config.stash[SETTINGS] = replace(settings, python_path=tuple(python_path))
        config.stash[TIER] = choose_tier(settings)
    return config.stash[TIER]


def case_id_of(item: pytest.Item) -> str | None:
    """Return the case id of a collected test; None if it has none."""
    callspec = getattr(item, "callspec", None)
    return callspec.params.get("cnnperf_case") if callspec is not None else None


BESIDE = "trainings run side by side and slow each other down"
AGAIN = "a case is trained again and only its last training counts"
HARMFUL = {
    "forked": (False, "--forked (pytest-forked)", "the results of a training are lost"),
    "parallel_threads": (1, "--parallel-threads (pytest-run-parallel)", BESIDE),
    "iterations": (1, "--iterations (pytest-run-parallel)", AGAIN),
    "forever": (False, "--forever (pytest-run-parallel)", AGAIN),
    "workers": (None, "--workers (pytest-parallel)", BESIDE),
    "tests_per_worker": (None, "--tests-per-worker (pytest-parallel)", BESIDE),
    "reruns": (None, "--reruns (pytest-rerunfailures)", AGAIN),
    "force_reruns": (None, "--force-reruns (pytest-rerunfailures)", AGAIN),
    "flaky": (None, "@pytest.mark.flaky", AGAIN),
}
"""Options, ini keys and markers of other plugins, with a harmless value, and what they do to cases.

pytest-xdist is not here: its processes skip cases (`is_xdist`), because an error there is retried.
"""


def check_plugins(config: pytest.Config, items: Sequence[pytest.Item]) -> None:
    """Refuse plugins that would train a case wrongly or twice, before anything is trained.

    Raises:
        UsageError: names the option or the two tests of a case.
    """
    trained: dict[str, pytest.Item] = {}
    for item in items:
        case_id = case_id_of(item)
        if case_id in (None, NO_CASES) or "cnnperf_train" not in getattr(item, "fixturenames", ()):
            continue
        for name, (harmless, asked, harm) in HARMFUL.items():
            if item.get_closest_marker(name) or _value(config, name, harmless) != str(harmless):
                raise UsageError(f"with {asked} {harm}: run the cases without it")
        if case_id in trained:
            raise UsageError(
                f"case {case_id} would be trained twice, by {trained[case_id].nodeid} and "
                f"{item.nodeid}, but only one training would count: choose one with -k, and use "
                "--cnnperf-repeats=N instead of --count or --flake-finder"
            )
        trained[case_id] = item


def _value(config: pytest.Config, name: str, harmless: object) -> str:
    value = config.getoption(name, None)
    if value is None:
        with suppress(ValueError):  # no plugin has such an ini key
            value = config.getini(name)
    return str(harmless if value in (None, "", 0, "0") else value)
