"""Settings of the project's own tests; the benchmarks take as long as they take."""

from __future__ import annotations

import os

import pytest

if os.environ.pop("PYTEST_XDIST_WORKER", None) is not None:
    # A pytest that a test starts is no worker of this one, which pytest-benchmark would believe.
    # And tests that train side by side must not fight for cores: torch's threads spin as they wait.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

LIMIT_SECONDS = 600
"""For a test that names no limit of its own: what hangs must fail, not hold up everybody."""


def pytest_itemcollected(item: pytest.Item) -> None:
    """Give a test its time limit; pytest calls this for tests of this folder only."""
    if item.get_closest_marker("timeout") is None:
        item.add_marker(pytest.mark.timeout(LIMIT_SECONDS))
