"""Start a process, show and log its output, and end it in time."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import IO

from words import ROOT, say

GRACE_SECONDS = 30.0
"""Time beyond its limit after which a process is interrupted, and after that killed. pytest ends in
time by itself, unless it hangs before training."""


class Terminated(KeyboardInterrupt):
    """Raised on SIGTERM, which a batch system sends before it kills."""


def run_python(
    arguments: Sequence[str], *, environ: Mapping[str, str], log: IO[str], seconds: float
) -> int:
    """Run this Python in the checkout, output to terminal and log; return its exit code."""
    say(f"$ {' '.join(arguments)}", log=log)
    process = subprocess.Popen(
        [sys.executable, *arguments], cwd=ROOT, env=environ, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, errors="replace",
    )  # fmt: skip
    with _ended_in_time(process, seconds + GRACE_SECONDS):
        assert process.stdout is not None
        for line in process.stdout:
            sys.stdout.write(line)
            sys.stdout.flush()
            log.write(line)
    return process.wait()


def _heed_terminate(_number: int, _frame: object) -> None:
    raise Terminated


@contextmanager
def _ended_in_time(process: subprocess.Popen[str], seconds: float) -> Iterator[None]:
    """Interrupt a process that takes too long, and kill it if it ignores that.

    Ctrl-C reaches both processes; SIGTERM may reach only this one.
    """
    interrupt = threading.Timer(seconds, process.send_signal, [signal.SIGINT])
    kill = threading.Timer(seconds + GRACE_SECONDS, process.kill)
    before = signal.signal(signal.SIGTERM, _heed_terminate)
    for timer in (interrupt, kill):
        timer.daemon = True
        timer.start()
    try:
        yield
    except BaseException as reason:
        if not isinstance(reason, KeyboardInterrupt) or isinstance(reason, Terminated):
            process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=GRACE_SECONDS)  # a full pipe must not block it
        process.kill()
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
        interrupt.cancel()
        kill.cancel()
