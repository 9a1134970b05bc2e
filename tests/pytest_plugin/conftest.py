"""Projects to run in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pytest_plugin.project import Project


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """A fresh project; nothing goes on in it after the test."""
    made = Project(tmp_path)
    yield made
    made.stop()
