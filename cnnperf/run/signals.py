"""A run that a scheduler ends stops as one that a person ends.

SLURM at the end of a job's time, Kubernetes, systemd and `timeout` send SIGTERM and wait for a
while. Without a handler Python dies at once, and nobody is told where the finished trainings are.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType


def take_sigterm_for_ctrl_c() -> Callable[[], None]:
    """Let SIGTERM raise KeyboardInterrupt, unless somebody else handles it; returns the undoing."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        return lambda: None
    signal.signal(signal.SIGTERM, _interrupt)
    return _forget


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _forget() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
