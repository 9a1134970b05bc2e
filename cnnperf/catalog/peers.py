"""Which package each peer engine needs, and whether it is there.

Torch-free: the pytest process asks before it plans, and imports nothing of them.
"""

from __future__ import annotations

import importlib.util

PACKAGES = {
    "lightning": "lightning",
    "lightning_bf16": "lightning",
    "accelerate": "accelerate",
    "accelerate_bf16": "accelerate",
    "timm": "timm",
}
"""By engine; an engine that is not here needs nothing beyond the extra `train`."""


def missing_package(engine: str) -> str | None:
    """One sentence where this interpreter lacks what an engine needs, else None."""
    package = PACKAGES.get(engine)
    if package is None or importlib.util.find_spec(package) is not None:
        return None
    return f"engine {engine} needs {package}: pip install 'cnnperf[peers]'"


def other_packages(engine: str) -> set[str]:
    """Packages of the other peers: their versions change nothing for this engine."""
    return set(PACKAGES.values()) - {PACKAGES.get(engine)}
