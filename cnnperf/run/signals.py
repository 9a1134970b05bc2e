"""SIGTERM stops a run in the same way as Ctrl-C.

SLURM, Kubernetes, systemd and `timeout` send SIGTERM and then wait. Without a handler Python ends
at once, and the user does not learn where the finished trainings are.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType


def take_sigterm_for_ctrl_c() -> Callable[[], None]:
    """Make SIGTERM raise KeyboardInterrupt unless it has a handler; return the undo function."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        return lambda: None
    signal.signal(signal.SIGTERM, _interrupt)
    return _forget


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _forget() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
