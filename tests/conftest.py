"""Settings of the project's own tests; the benchmarks take as long as they take."""

from __future__ import annotations

import pytest

LIMIT_SECONDS = 300
"""For a test that names no limit of its own: what hangs must fail, not hold up everybody."""


def pytest_itemcollected(item: pytest.Item) -> None:
    """Give a test its time limit; pytest calls this for tests of this folder only."""
    if item.get_closest_marker("timeout") is None:
        item.add_marker(pytest.mark.timeout(LIMIT_SECONDS))
