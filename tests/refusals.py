"""The one line with which a file is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnnperf.errors import UsageError
from cnnperf.record.loading import load_record


def refusal_of(path: Path) -> str:
    """What `load_record` says: it begins with the path, is short, and cannot steer a terminal."""
    with pytest.raises(UsageError) as caught:
        load_record(path)
    text = str(caught.value)
    assert text.startswith(str(path))
    assert text.isprintable()
    assert len(text) < len(str(path)) + 600
    return text
