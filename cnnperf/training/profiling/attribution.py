"""Where the time of the profiled steps went: every instant of them belongs to one class.

Torch-free. On a GPU an instant belongs to the kernel that runs, to a copy where no kernel runs, to
`data_wait` where nothing runs and the host waits for a batch, and else to `idle`. On a CPU it
belongs to the innermost operator of the thread that trains, or of another where that one waits;
`idle` is what no operator covers: Python, mostly.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from heapq import heappop, heappush
from itertools import pairwise
from typing import NamedTuple, get_args

from cnnperf.record.schema import KernelClass, KernelTime, Profile
from cnnperf.training.profiling.trace import Slice, Trace

LONGEST = 10

MAX_NAME = 400
"""Characters of a kernel's name that are kept: a C++ template's may have thousands."""

MICROSECOND = 1e-6


class Work(NamedTuple):
    """One call of a kernel, or of an operator without those that it calls itself."""

    name: str
    kernel_class: KernelClass
    microseconds: float


class Span(NamedTuple):
    """Some time with a claim to it; of several at an instant the lowest rank has it."""

    start: float
    end: float
    kernel_class: KernelClass
    rank: int


def attribute(trace: Trace, *, steps: int, on_host: bool) -> Profile:
    """Time by class and the longest kernels, for each step.

    Args:
        trace: of whole steps.
        steps: training steps in it.
        on_host: whether the operators themselves do the work, as on a CPU; else kernels do.

    Raises:
        ValueError: there are no kernels where there should be some.
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
    """Time from start to end that each class has, where spans overlap counted once.

    Of two of equal rank the one that began first has the time.
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
        rank = 1 if kernel.kernel_class == "copy" else 0  # a copy that hides costs nothing
        yield Span(kernel.start, kernel.end, kernel.kernel_class, rank)
    for wait in trace.waits:
        yield Span(wait.start, wait.end, "data_wait", 2)


def _kernels(trace: Trace) -> Iterator[Work]:
    for kernel in trace.kernels:
        microseconds = min(kernel.end, trace.end) - max(kernel.start, trace.start)
        if microseconds > 0:
            yield Work(kernel.name, kernel.kernel_class, microseconds)


# --- on the host --------------------------------------------------------------------------------


def _host_spans(trace: Trace) -> Iterator[Span]:
    for rank, thread in enumerate(trace.threads):
        for each in _all(thread):
            for start, end in _own_pieces(each):
                yield Span(start, end, each.kernel_class, rank)


def _operators(trace: Trace) -> Iterator[Work]:
    """All but those that ran while the host waited for data."""
    for each in (each for thread in trace.threads for each in _all(thread)):
        if each.kernel_class != "data_wait" and trace.start <= each.start < trace.end:
            microseconds = sum(end - start for start, end in _own_pieces(each))
            yield Work(each.name, each.kernel_class, microseconds)


def _all(slices: Sequence[Slice]) -> Iterator[Slice]:
    for each in slices:
        yield each
        yield from _all(each.children)


def _own_pieces(operator: Slice) -> Iterator[tuple[float, float]]:
    """The time of an operator before, between and after those that it calls."""
    start = operator.start
    for child in operator.children:
        yield start, max(start, child.start)
        start = child.end
    yield start, max(start, operator.end)


# --- the longest --------------------------------------------------------------------------------


def _longest(work: Iterable[Work], steps: int) -> list[KernelTime]:
    """The ten names that took longest, each with its class; they may run beside each other."""
    microseconds: dict[tuple[str, KernelClass], float] = defaultdict(float)
    calls: dict[tuple[str, KernelClass], int] = defaultdict(int)
    for each in work:
        key = _shortened(each.name), each.kernel_class
        microseconds[key] += each.microseconds
        calls[key] += 1
    order = sorted(microseconds, key=lambda key: (-microseconds[key], key))[:LONGEST]
    return [
        KernelTime(
            name=name,
            kernel_class=kernel_class,
            calls_per_step=calls[name, kernel_class] / steps,
            seconds_per_step=microseconds[name, kernel_class] * MICROSECOND / steps,
        )
        for name, kernel_class in order
    ]


def _shortened(name: str) -> str:
    return name if len(name) <= MAX_NAME else name[: MAX_NAME - 1] + "…"
