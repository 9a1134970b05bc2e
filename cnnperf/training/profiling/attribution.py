"""Attribute each instant of the profiled steps to one class of work.

On a GPU, an instant belongs to the running kernel, to a copy if no kernel runs, to `data_wait` if
nothing runs and the host waits for a batch, and else to `idle`. On a CPU, it belongs to the
innermost operator of the training thread, or of another thread if that one waits. `idle` is then
time without an operator, mostly Python.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from heapq import heappop, heappush
from itertools import pairwise
from typing import NamedTuple, get_args

from cnnperf.record.schema import KernelClass, KernelTime, Profile
from cnnperf.training.profiling.trace import Slice, Trace

MAX_KERNELS = 10
"""Number of the longest kernels in the record."""

MAX_NAME_CHARACTERS = 400
"""Longer names are cut: those of C++ templates can have thousands of characters."""

MICROSECOND = 1e-6


Work = tuple[str, KernelClass, float]
"""Name, class and microseconds of a kernel, or of an operator without those that it calls."""


class Span(NamedTuple):
    """A time span of one class; at each instant, the span of the lowest rank counts."""

    start: float
    end: float
    kernel_class: KernelClass
    rank: int


def attribute(trace: Trace, *, steps: int, on_host: bool) -> Profile:
    """Return the time by class and the longest kernels, per step.

    Args:
        trace: a trace of whole steps.
        steps: number of training steps in it.
        on_host: whether operators do the work, as on a CPU; otherwise kernels do.

    Raises:
        ValueError: the trace of a device has no kernels.
    """
    if not on_host and not trace.kernels:
        raise ValueError("the trace has no kernels of the device")
    work = _operators(trace) if on_host else _kernels(trace)
    spans = _host_spans(trace) if on_host else _device_spans(trace)
    unit = MICROSECOND / steps
    total = (trace.end - trace.start) * unit
    seconds: dict[KernelClass, float] = dict.fromkeys(get_args(KernelClass), 0.0)
    for kernel_class, microseconds in busy_by_class(spans, trace.start, trace.end).items():
        seconds[kernel_class] = microseconds * unit
    seconds["idle"] = max(0.0, total - sum(seconds.values()))
    return Profile(
        steps=steps,
        seconds_per_step=total,
        seconds_per_step_by_class=seconds,
        longest_kernels=_longest(work, steps),
    )


def busy_by_class(spans: Iterable[Span], start: float, end: float) -> dict[KernelClass, float]:
    """Return the time of each class from start to end, in which overlapping spans count once.

    Of two spans of equal rank, the earlier one counts.
    """
    clipped = sorted(
        (max(span.start, start), min(span.end, end), span.rank, span.kernel_class)
        for span in spans
        if span.end > start and span.start < end
    )
    edges = sorted({edge for span in clipped for edge in span[:2]})
    found: dict[KernelClass, float] = defaultdict(float)
    waiting = iter(clipped)
    upcoming = next(waiting, None)
    running: list[tuple[int, float, float, KernelClass]] = []  # by rank, then by beginning
    for edge, following in pairwise(edges):
        while upcoming is not None and upcoming[0] <= edge:
            begin, until, rank, kernel_class = upcoming
            heappush(running, (rank, begin, until, kernel_class))
            upcoming = next(waiting, None)
        while running and running[0][2] <= edge:
            heappop(running)
        if running:
            found[running[0][3]] += following - edge
    return dict(found)


# --- on a device --------------------------------------------------------------------------------


def _device_spans(trace: Trace) -> Iterator[Span]:
    for kernel in trace.kernels:
        rank = 1 if kernel.kernel_class == "copy" else 0  # a copy beside a kernel costs nothing
        yield Span(kernel.start, kernel.end, kernel.kernel_class, rank)
    for wait in trace.waits:
        yield Span(wait.start, wait.end, "data_wait", 2)


def _kernels(trace: Trace) -> Iterator[Work]:
    for kernel in trace.kernels:
        microseconds = min(kernel.end, trace.end) - max(kernel.start, trace.start)
        if microseconds > 0:
            yield kernel.name, kernel.kernel_class, microseconds


# --- on the host --------------------------------------------------------------------------------


def _host_spans(trace: Trace) -> Iterator[Span]:
    for rank, thread in enumerate(trace.threads):
        for each in _all(thread):
            for start, end in _own_pieces(each):
                yield Span(start, end, each.kernel_class, rank)


def _operators(trace: Trace) -> Iterator[Work]:
    """Yield all operators except those inside a wait for data."""
    for each in (each for thread in trace.threads for each in _all(thread)):
        if each.kernel_class != "data_wait" and trace.start <= each.start < trace.end:
            microseconds = sum(end - start for start, end in _own_pieces(each))
            yield each.name, each.kernel_class, microseconds


def _all(slices: Sequence[Slice]) -> Iterator[Slice]:
    for each in slices:
        yield each
        yield from _all(each.children)


def _own_pieces(operator: Slice) -> Iterator[tuple[float, float]]:
    """Yield the time spans of an operator outside the operators that it calls."""
    start = operator.start
    for child in operator.children:
        yield start, max(start, child.start)
        start = child.end
    yield start, max(start, operator.end)


# --- the longest --------------------------------------------------------------------------------


def _longest(work: Iterable[Work], steps: int) -> list[KernelTime]:
    """Return the names with the longest total time; they may run in parallel."""
    microseconds: dict[tuple[str, KernelClass], float] = defaultdict(float)
    calls = Counter[tuple[str, KernelClass]]()
    for name, kernel_class, duration in work:
        is_long = len(name) > MAX_NAME_CHARACTERS
        key = name[: MAX_NAME_CHARACTERS - 1] + "…" if is_long else name, kernel_class
        microseconds[key] += duration
        calls[key] += 1
    order = sorted(microseconds, key=lambda key: (-microseconds[key], key))[:MAX_KERNELS]
    return [
        KernelTime(
            name=name,
            kernel_class=kernel_class,
            calls_per_step=calls[name, kernel_class] / steps,
            seconds_per_step=microseconds[name, kernel_class] * MICROSECOND / steps,
        )
        for name, kernel_class in order
    ]
