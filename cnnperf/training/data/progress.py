"""Report the progress of reading a data set, such as decoding many images.

A worker sends it to the run's display. A loader of the user's may call `report` too:

    from cnnperf.training.data.progress import report
    report(done=1200, total=50_000)
"""

from __future__ import annotations

import time
from collections.abc import Callable

INTERVAL_SECONDS = 0.5

_listener: Callable[[int, int], None] | None = None
_next_report = 0.0


def listen(listener: Callable[[int, int], None]) -> None:
    """Call `listener(images done, images in all)` from now on, twice a second at most."""
    global _listener
    _listener = listener


def report(done: int, total: int) -> None:
    """Report that so many images of a data set are read."""
    global _next_report
    now = time.monotonic()
    if _listener is not None and now >= _next_report:
        _next_report = now + INTERVAL_SECONDS
        _listener(done, total)
