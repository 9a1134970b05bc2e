"""Stop a run on SIGTERM and SIGHUP as on Ctrl-C, and at once on the second signal."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType


def interrupt_on_signals(left_behind: str) -> Callable[[], None]:
    """Make SIGTERM and SIGHUP raise KeyboardInterrupt, as Ctrl-C does; return what undoes it.

    SLURM, Kubernetes, systemd and `timeout` send SIGTERM and then wait; a terminal that is closed
    sends SIGHUP. Without a handler Python ends at once, and the user does not learn where the
    finished trainings are. A second signal ends the process at once: the journal has everything,
    and the worker ends with its parent. A signal that is ignored or has a handler stays as it is.

    Args:
        left_behind: the sentence that the second signal prints.
    """
    heard: list[int] = []

    def interrupt(number: int, _frame: FrameType | None) -> None:
        heard.append(number)
        if len(heard) == 1:
            raise KeyboardInterrupt
        os.write(2, f"\ncnnperf: stopped again; {left_behind}\n".encode(errors="replace"))
        os._exit(128 + number)

    defaults = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
        signal.SIGHUP: signal.SIG_DFL,
    }
    in_main_thread = threading.current_thread() is threading.main_thread()
    replaced = {
        number: default
        for number, default in defaults.items()
        if in_main_thread and signal.getsignal(number) == default
    }
    for number in replaced:
        signal.signal(number, interrupt)

    def restore() -> None:
        for number, default in replaced.items():
            signal.signal(number, default)

    return restore
