"""What the plugin keeps in pytest's stash, and questions about pytest's options."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from cnnperf.run.settings import RunSettings

if TYPE_CHECKING:
    from cnnperf.catalog.specs import Tier
    from cnnperf.run.session import RunSession

SETTINGS = pytest.StashKey[RunSettings]()
TIER: pytest.StashKey[tuple[Tier, str]] = pytest.StashKey()
SESSION: pytest.StashKey[RunSession] = pytest.StashKey()
HEADER = pytest.StashKey[list[str]]()
WROTE_RECORD = pytest.StashKey[bool]()
KEPT_JOURNAL = pytest.StashKey[bool]()
BAD_USAGE = pytest.StashKey[bool]()
STARTED = pytest.StashKey[float]()
DESELECTED = pytest.StashKey[set[str]]()


def is_xdist(config: pytest.Config) -> bool:
    """Return whether this is pytest-xdist's controller, one of its workers, or its loop (-f)."""
    spreads = config.getoption("dist", "no") != "no" and bool(config.getoption("tx", None))
    loops = any(type(each).__name__ == LOOP for each in config.pluginmanager.get_plugins())
    return spreads or loops or is_xdist_worker()


LOOP = "WorkerFailSession"
"""Name of the class of pytest-xdist's plugin in the process that runs the tests of -f."""


def is_xdist_worker() -> bool:
    """Return whether this process runs tests for pytest-xdist's controller."""
    return "PYTEST_XDIST_WORKER" in os.environ


def skips_benchmarks(config: pytest.Config) -> bool:
    """Return whether pytest-benchmark skips all benchmarks, by its own rule."""
    return bool(
        config.getoption("benchmark_skip", False) and not config.getoption("benchmark_only", False)
    )


def times_nothing(config: pytest.Config) -> bool:
    """Return whether pytest-benchmark runs each case once and writes no file, by its own rule."""
    return bool(
        config.getoption("benchmark_disable", False)
        and not config.getoption("benchmark_enable", False)
    )


def only_shows(config: pytest.Config) -> bool:
    """Return whether pytest lists tests or fixtures and runs nothing."""
    names = ("collectonly", "showfixtures", "show_fixtures_per_test")
    return any(config.getoption(name, False) for name in names)


def why_no_verdict(config: pytest.Config, has_cases: bool) -> str | None:
    """Return why a run could not be compared with a baseline; None where it can."""
    if times_nothing(config):
        return "with --benchmark-disable nothing is timed: run without it"
    if skips_benchmarks(config):
        return "with --benchmark-skip nothing is trained: run without it"
    for name in ("setup-plan", "setup-only"):
        if config.getoption(name.replace("-", ""), False):
            return f"with --{name} nothing is trained: run without it"
    return None if has_cases else "no test of this run trains a case"


@contextmanager
def uncaptured(config: pytest.Config) -> Iterator[None]:
    """Let the progress display write to the terminal although pytest captures output."""
    manager = config.pluginmanager.getplugin("capturemanager")
    reporter = config.pluginmanager.getplugin("terminalreporter")
    if manager is None:
        yield
        return
    with manager.global_and_fixture_disabled():
        if reporter is not None and config.getoption("verbose", 0) >= 0:
            reporter.ensure_newline()
        yield
