"""Which cases a test is for: the tier, the suite it names, and what stands in its parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import pytest

from cnnperf.errors import UsageError, one_of
from cnnperf.pytest_plugin.state import SETTINGS, TIER

if TYPE_CHECKING:
    from cnnperf.catalog.specs import Tier
    from cnnperf.run.settings import RunSettings

NO_CASES = "none"
"""Stands where a case id would, so that pytest says why a test has nothing to do."""


def suite_of(test: pytest.Item) -> str:
    """The suite that a test's marker names.

    Raises:
        UsageError: the marker says something else, or there is no such suite.
    """
    from cnnperf.catalog.specs import Suite

    marker = test.get_closest_marker("cnnperf")
    if marker is None:
        return "train"
    names = [*marker.args, marker.kwargs.get("suite")][:1]
    if len(marker.args) + len(marker.kwargs) != 1 or names == [None]:
        raise UsageError(f"{test.nodeid}: expected @pytest.mark.cnnperf(suite=...), and no more")
    if names[0] not in get_args(Suite):
        raise UsageError(f"{test.nodeid}: {one_of('suite', str(names[0]), get_args(Suite))}")
    return str(names[0])


def prepare_collection(config: pytest.Config) -> tuple[Tier, str]:
    """The user's modules and the tier, once a run.

    Raises:
        UsageError: training is not installed, or a module cannot be imported.
    """
    if TIER not in config.stash:
        from cnnperf.catalog.registry import import_modules
        from cnnperf.run.plan import choose_tier

        settings = config.stash[SETTINGS]
        _check_installed(settings)
        import_modules(settings.modules, settings.python_path)
        config.stash[TIER] = choose_tier(settings)
    return config.stash[TIER]


def _check_installed(settings: RunSettings) -> None:
    from cnnperf.run.session import missing_packages

    if settings.python is None and (missing := missing_packages()):
        raise UsageError(
            f"training needs {', '.join(missing)}: pip install 'cnnperf[train]' "
            "(in a checkout: pip install -e '.[train]')"
        )


def case_id_of(item: pytest.Item) -> str | None:
    """The case that a collected test is parametrized with; None where it asks for none."""
    callspec = getattr(item, "callspec", None)
    return callspec.params.get("cnnperf_case") if callspec is not None else None
