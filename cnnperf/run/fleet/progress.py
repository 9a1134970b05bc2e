"""The progress of a fleet run: a bar on a terminal, or a line now and then in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.progress import Progress as RichProgress

from cnnperf.compare.comparability import some
from cnnperf.errors import printable
from cnnperf.run.header import format_estimate
from cnnperf.run.progress import LOG_SECONDS, new_bar

MAX_NAMED = 2
"""Most trainings under way that a line names."""


class FleetDisplay:
    """Shows how much of a fleet run is done; lines that stay are printed above."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = console.is_interactive and console.file.isatty()
        self._bar: RichProgress | None = None
        self._last_line = time.monotonic()

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self._last_line = time.monotonic()
        self._console.print(
            printable(f"cnnperf: {text}"), markup=False, highlight=False, soft_wrap=True
        )

    def update(
        self, done: int, planned: int, running: Sequence[str], left: Callable[[], float | None]
    ) -> None:
        """Show the state: what is `running`, and the estimated seconds that are `left`."""
        if not self._live and time.monotonic() - self._last_line < LOG_SECONDS:
            return
        seconds = left()
        text = f"{done:,} of {planned:,} trainings done"
        text += f", roughly {format_estimate(seconds)} left" if seconds else ""
        text += f"; under way: {some(running, MAX_NAMED)}" if running else ""
        if not self._live:
            self.say(text)
            return
        if self._bar is None:
            self._bar = new_bar(self._console)
            self._task = self._bar.add_task("", total=1.0)
            self._bar.start()
        self._bar.update(self._task, completed=done / max(1, planned), description=printable(text))

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
