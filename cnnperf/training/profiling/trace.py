"""A trace of torch's profiler, as it lies on the disk: who ran when, and what for.

Torch-free. It is read from the file that people open in TensorBoard and Perfetto, so that the
record says what they see there, and so that tests can write one by hand. The format is Chrome's
trace event format; times are microseconds.
"""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cnnperf.record.schema import KernelClass
from cnnperf.training.profiling.kernels import class_of_kernel, class_of_operator

DATA_WAIT = "enumerate(DataLoader)#cnnperf::data_wait.__next__"
"""Name of the time in which the host waits for the next batch, also where no DataLoader is at work:
torch-tb-profiler knows it by how it begins and ends."""

STEP = "ProfilerStep#"
"""Torch's profiler writes one for each time its `step` is called."""

HOST_CATEGORIES = ("cpu_op", "user_annotation")
DEVICE_CATEGORIES = ("kernel", "gpu_memcpy", "gpu_memset")

Event = dict[str, Any]


@dataclass(slots=True)
class Slice:
    """Something that ran from `start` to `end`, in microseconds."""

    name: str
    start: float
    end: float
    kernel_class: KernelClass
    children: list[Slice] = field(default_factory=list)
    """What ran within it in the same thread, in order."""


@dataclass(slots=True)
class _Operator(Slice):
    """A slice of the host, with what its name and those around it say."""

    own: KernelClass | None = None
    """Of the innermost operator with a name that says something."""
    servant: bool = False
    """Whether it is `copy` only where nothing around it says otherwise."""
    region: KernelClass | None = None
    """Of the optimizer's step or the wait for data around it: it holds for all that is in them."""


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What the profiled steps did."""

    start: float
    end: float
    """Of all steps together: from the end of the one before to the end of the last."""
    threads: list[list[Slice]]
    """The host's operators that are in no other, by thread; first the one that trains."""
    kernels: list[Slice]
    """What ran on the device."""
    waits: list[Slice]
    """When the host waited for data."""


def read_events(path: Path) -> list[Event]:
    """Every event of a trace's file.

    Raises:
        ValueError: it is no trace.
    """
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rb") as file:
        content = json.load(file)
    if not isinstance(content, dict) or "traceEvents" not in content:
        raise ValueError(f"{path.name} has no traceEvents")
    events: list[Event] = content["traceEvents"]
    return events


def parse_trace(events: Iterable[Event]) -> Trace:
    """What ran, with its class.

    Raises:
        ValueError: no step is marked in it.
    """
    complete = [event for event in events if event.get("ph") == "X"]
    steps = [event for event in complete if _is_step(event)]
    if not steps:
        raise ValueError("no step is marked in the trace")
    by_thread: dict[tuple[Any, Any], list[Event]] = defaultdict(list)
    for event in complete:
        if event.get("cat") in HOST_CATEGORIES and not _is_step(event):
            by_thread[event.get("pid"), event.get("tid")].append(event)
    trains = steps[0].get("pid"), steps[0].get("tid")
    operators: dict[int, _Operator] = {}
    threads = [
        _nest(by_thread[thread], operators)
        for thread in sorted(by_thread, key=lambda thread: thread != trains)
    ]
    return Trace(
        start=min(float(step["ts"]) for step in steps),
        end=max(_end(step) for step in steps),
        threads=threads,
        kernels=[_kernel(e, operators) for e in complete if e.get("cat") in DEVICE_CATEGORIES],
        waits=[each for thread in threads for each in _named(thread, DATA_WAIT)],
    )


def _is_step(event: Event) -> bool:
    is_annotation = event.get("cat") == "user_annotation"
    return is_annotation and str(event.get("name")).startswith(STEP)


def _end(event: Event) -> float:
    return float(event["ts"]) + float(event.get("dur", 0))


def _nest(events: list[Event], operators: dict[int, _Operator]) -> list[Slice]:
    """A thread's operators, each within the one that called it.

    Args:
        events: of one thread.
        operators: filled with those that a kernel may refer to, by their external id.
    """
    outermost: list[Slice] = []
    open_ones: list[_Operator] = []
    for event in sorted(events, key=lambda event: (float(event["ts"]), -_end(event))):
        start, end = float(event["ts"]), _end(event)
        while open_ones and open_ones[-1].end <= start:
            open_ones.pop()
        parent = open_ones[-1] if open_ones else None
        operator = _operator(str(event["name"]), start, end, parent)
        (outermost if parent is None else parent.children).append(operator)
        open_ones.append(operator)
        external_id = _arguments(event).get("External id")
        if external_id is not None and event["cat"] == "cpu_op":
            operators[external_id] = operator
    return outermost


def _operator(name: str, start: float, end: float, parent: _Operator | None) -> _Operator:
    """An operator that knows what its name, or else what is around it, says."""
    own, servant = class_of_operator(name)
    region: KernelClass | None = "data_wait" if name == DATA_WAIT else None
    if own == "optimizer":
        region = "optimizer"
    if parent is not None:
        end = min(end, parent.end)  # they round by a nanosecond
        region = parent.region or region
        if parent.own is not None and (own is None or (servant and not parent.servant)):
            own, servant = parent.own, parent.servant
    kernel_class = region or own or "other"
    return _Operator(name, start, end, kernel_class, own=own, servant=servant, region=region)


def _kernel(event: Event, operators: dict[int, _Operator]) -> Slice:
    """A kernel, by the operator that launched it, and by its own name where that says nothing."""
    name = str(event["name"])
    launcher = operators.get(_arguments(event).get("External id", -1))
    kernel_class = class_of_kernel(name)
    if launcher is not None and launcher.region == "optimizer":
        kernel_class = "optimizer"
    elif launcher is not None and launcher.own is not None:
        kernel_knows_better = launcher.servant and kernel_class != "other"
        kernel_class = kernel_class if kernel_knows_better else launcher.own
    return Slice(name, float(event["ts"]), _end(event), kernel_class)


def _arguments(event: Event) -> dict[str, Any]:
    arguments = event.get("args")
    return arguments if isinstance(arguments, dict) else {}


def _named(slices: Iterable[Slice], name: str) -> Iterator[Slice]:
    """The outermost of this name."""
    for each in slices:
        if each.name == name:
            yield each
        else:
            yield from _named(each.children, name)
