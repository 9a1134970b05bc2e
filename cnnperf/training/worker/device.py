"""Choosing the device that was asked for, or saying why it cannot be had."""

from __future__ import annotations

import torch

from cnnperf.errors import NotInstalledError

ORDER = ("cuda", "xpu", "mps")
"""What `auto` prefers, in this order, before the CPU."""


def choose_device(name: str) -> torch.device:
    """The device for `auto`, `cpu`, `cuda`, `mps` or `xpu`.

    Raises:
        NotInstalledError: this torch cannot use it.
    """
    if name == "auto":
        name = next((kind for kind in ORDER if is_available(kind)), "cpu")
    elif not is_available(name):
        raise NotInstalledError(
            f"device {name} cannot be used by torch {torch.__version__} here; possible: "
            + ", ".join(kind for kind in (*ORDER, "cpu") if is_available(kind))
        )
    return torch.device(name, 0) if name in ("cuda", "xpu") else torch.device(name)


def is_available(name: str) -> bool:
    """Whether this torch can compute on that kind of device."""
    backend = torch.backends.mps if name == "mps" else getattr(torch, name, None)
    return name == "cpu" or (backend is not None and bool(backend.is_available()))
